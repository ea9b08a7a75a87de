//! What is kept of a link and what is not.

use proptest::prelude::*;

use super::*;
use crate::event::Requester;

const KEY: HashKey = HashKey::new([1; 16]);

#[test]
fn host_and_path_are_kept_without_what_could_be_of_one_person() {
    for (link, expected) in [
        ("https://shop.example/spring/shoes", "shop.example/spring/shoes"),
        ("HTTPS://Shop.EXAMPLE/Spring", "shop.example/Spring"),
        ("http://shop.example", "shop.example/"),
        ("https://shop.example/", "shop.example/"),
        ("https://shop.example/sale/", "shop.example/sale/"),
        ("https://shop.example./sale", "shop.example/sale"),
        ("  https://shop.example/sale\n", "shop.example/sale"),
        ("https://shop.example?token=secret", "shop.example/"),
        ("https://shop.example/sale?u=anna#top", "shop.example/sale"),
        ("https://shop.example/sale#anna?x", "shop.example/sale"),
        ("https://shop.example:8443/sale", "shop.example/sale"),
        ("https://anna:secret@shop.example/sale", "shop.example/sale"),
        ("https://a@b@shop.example/sale", "shop.example/sale"),
        ("https://shop.example/orders/4711/track", "shop.example/orders/:id/track"),
        ("https://shop.example/u/x7Kq", "shop.example/u/:id"),
        ("https://shop.example/u/anna@mail.example", "shop.example/u/:id"),
        ("https://shop.example/u/anna%40mail.example", "shop.example/u/:id"),
        ("https://shop.example/u/anna%2540mail.example", "shop.example/u/:id"),
        ("https://shop.example/a%2Fb/c", "shop.example/:id/c"),
        ("https://shop.example/%6F%72der", "shop.example/order"),
        ("https://shop.example/%31%32", "shop.example/:id"),
        ("https://shop.example/%zz", "shop.example/:id"),
        ("https://shop.example/%ff", "shop.example/:id"),
        ("https://shop.example/%", "shop.example/:id"),
        ("https://shop.example/über-uns", "shop.example/über-uns"),
        ("https://shop.example/%C3%BCber-uns", "shop.example/über-uns"),
        ("https://shop.example/summer%20sale", "shop.example/summer sale"),
        ("https://shop.example/price/٤٢", "shop.example/price/:id"),
        ("https://shop.example/a\u{202e}b", "shop.example/:id"),
        ("https://shop.example/a\u{0}b", "shop.example/:id"),
        ("https://shop.example/user=anna", "shop.example/:id"),
        ("https://shop.example/sale;jsessionid=1A2B", "shop.example/sale"),
        ("https://shop.example/abcdefghijklmnopqrstuvwx", "shop.example/abcdefghijklmnopqrstuvwx"),
        ("https://shop.example/abcdefghijklmnopqrstuvwxy", "shop.example/:id"),
        ("https://shop.example//sale", "shop.example//sale"),
        ("https://shop.example\\sale\\4", "shop.example/sale/:id"),
        ("https://shop.example/r/https://other.example/x", "shop.example/r/:id//other.example/x"),
        ("https://BÜCHER.example/neu", "bücher.example/neu"),
        ("https://xn--bcher-kva.example/neu", "xn--bcher-kva.example/neu"),
        ("https://abcdefghijklmnopqrstuvwxyz.click.shop.example/x", ":id.click.shop.example/x"),
        (
            "https://a-registered-domain-of-many-letters.example/x",
            "a-registered-domain-of-many-letters.example/x",
        ),
        ("", Dimension::NONE),
        (" \t", Dimension::NONE),
        ("shop.example/sale", Dimension::INVALID),
        ("//shop.example/sale", Dimension::INVALID),
        ("/sale", Dimension::INVALID),
        ("mailto:anna@mail.example", Dimension::INVALID),
        ("mailto://anna@mail.example", Dimension::INVALID),
        ("tel:+4930123456", Dimension::INVALID),
        ("data:text/html,<b>Anna</b>", Dimension::INVALID),
        ("javascript:alert(1)//https://shop.example/", Dimension::INVALID),
        ("ftp://shop.example/sale", Dimension::INVALID),
        ("https://", Dimension::INVALID),
        ("https:///sale", Dimension::INVALID),
        ("https://192.0.2.1/sale", Dimension::INVALID),
        ("https://[2001:db8::1]/sale", Dimension::INVALID),
        ("https://shop.example:password/sale", Dimension::INVALID),
        ("https://shop example/sale", Dimension::INVALID),
        ("https://shop%2eexample/sale", Dimension::INVALID),
        ("https://(other)/sale", Dimension::INVALID),
    ] {
        assert_eq!(host_and_path(link), expected, "{link:?}");
    }
}

#[test]
fn long_names_are_cut_and_stay_different() {
    let [one, other] = ["x", "y"].map(|end| format!("https://shop.example/{}{end}", "sale/".repeat(10_000)));
    let names = [host_and_path(&one), host_and_path(&other)];
    assert_ne!(names[0], names[1]);
    assert!(names.iter().all(|name| name.len() == MAX_NAME_BYTES && name.starts_with("shop.example/sale/")));
    // As long as a domain may be.
    let host = format!("{}example", "sub.".repeat(60));
    assert!(host_and_path(&format!("https://{host}/x")).len() <= MAX_NAME_BYTES);
    assert_eq!(host_and_path(&format!("https://{}example/x", "sub.".repeat(70))), Dimension::INVALID);
}

fn click<'a>(link: Option<&'a str>, tags: &'a str) -> Interaction<'a> {
    Interaction {
        link: link.map(Cow::Borrowed),
        link_tags: Tags::new(tags),
        user_agent: Cow::Borrowed(""),
        ip_address: Cow::Borrowed(""),
        requester: Requester::Person,
    }
}

#[test]
fn tags_name_a_link_if_they_are_as_ses_takes_them() {
    let path = "shop.example/sale";
    for (tags, expected) in [
        (r#"{"position":["header"]}"#, "position:header"),
        (r#"{"position":["header"],"color":["red","blue"]}"#, "color:red;position:header"),
        (r#"{"item":["17"]}"#, "item:17"),
        ("null", path),
        ("{}", path),
        ("[]", path),
        (r#"{"position":[]}"#, path),
        (r#"{"position":[""]}"#, path),
        (r#"{"":["x"]}"#, path),
        (r#"{"reader":["anna@mail.example"]}"#, path),
        (r#"{"(other)":["x"]}"#, path),
        (r#"{"a":["x;b:y"]}"#, path),
    ] {
        let click = click(Some("https://shop.example/sale?x=1"), tags);
        assert_eq!(LinkNames::HostAndPath.name_of(&click, &KEY), expected, "{tags}");
    }
    let many: Vec<String> = (0..60).map(|number| format!(r#""name{number}":["value"]"#)).collect();
    let many = format!("{{{}}}", many.join(","));
    assert_eq!(LinkNames::Tags.name_of(&click(None, &many), &KEY).len(), MAX_NAME_BYTES);
}

#[test]
fn names_are_hashed_unless_they_are_allowed() {
    let tagged = click(Some("https://shop.example/sale"), r#"{"position":["header"]}"#);
    let plain = click(Some("https://shop.example/sale?u=anna"), "null");
    let name = |names: LinkNames, click: &Interaction<'_>| names.name_of(click, &KEY).into_owned();
    let hashes = [name(LinkNames::Hash, &tagged), name(LinkNames::Hash, &plain)];
    assert!(hashes.iter().all(|hash| hash.starts_with("link:") && hash.len() == 21), "{hashes:?}");
    assert_ne!(hashes[0], hashes[1]);
    assert_eq!(name(LinkNames::Tags, &tagged), "position:header");
    assert_eq!(name(LinkNames::Tags, &plain), hashes[1]);
    assert_eq!(name(LinkNames::HostAndPath, &plain), "shop.example/sale");
    // The same page by another link, and the same under another key.
    assert_eq!(name(LinkNames::Hash, &click(Some("http://SHOP.example/sale#x"), "")), hashes[1]);
    assert_ne!(LinkNames::Hash.name_of(&plain, &HashKey::new([2; 16])), hashes[1]);
    for names in LinkNames::ALL {
        assert_eq!(name(names, &click(None, "")), Dimension::NONE);
        assert_eq!(name(names, &click(Some("mailto:anna@mail.example"), "")), Dimension::INVALID);
    }
}

#[test]
fn hashed_names_are_part_of_the_storage_format() {
    let click = click(Some("https://shop.example/sale"), "");
    assert_eq!(LinkNames::Hash.name_of(&click, &KEY), "link:db387b26849644f6");
}

#[test]
fn settings_have_the_names_that_select_them() {
    for names in LinkNames::ALL {
        assert_eq!(LinkNames::from_name(names.name()), Some(names));
        let table: toml::Table = toml::from_str(&format!("store = {:?}", names.name())).unwrap();
        assert_eq!(table["store"].clone().try_into::<LinkNames>(), Ok(names));
    }
    assert_eq!(LinkNames::from_name("all"), None);
}

/// Links of every kind of part, and texts that are no links.
fn links() -> impl Strategy<Value = String> {
    let part = prop_oneof!["[a-z]{0,30}", "[a-z0-9%@=.;:]{0,12}", ".{0,8}", "(%[0-9a-fA-F]{2}){0,6}"];
    let scheme = prop::sample::select(vec!["https://", "http://", "HTTPS://", "", "mailto:", "data:", "//"]);
    let host = prop_oneof!["[a-z]{1,40}\\.[a-z]{2,8}", "[A-Za-z0-9.@:_-]{0,30}", ".{0,10}"];
    (scheme, host, prop::collection::vec(part, 0..8), ".{0,20}")
        .prop_map(|(scheme, host, parts, query)| format!("{scheme}{host}/{}?{query}", parts.join("/")))
}

proptest! {
    #[test]
    fn no_name_has_what_names_leave_out(link in links()) {
        let name = host_and_path(&link);
        prop_assert!(name.len() <= MAX_NAME_BYTES);
        if let Some((_, path)) = name.split_once('/') {
            prop_assert!(!name.contains(['@', '?', '#', '%', '=', ';']), "{name}");
            // A name that was cut ends with a hash.
            if !name.contains('~') {
                prop_assert!(!path.chars().any(char::is_numeric), "{name}");
                prop_assert!(path.split('/').all(|part| part.chars().count() <= MAX_PART_CHARS), "{name}");
            }
        } else {
            prop_assert!(name == Dimension::NONE || name == Dimension::INVALID, "{name}");
        }
    }

    #[test]
    fn naming_a_name_again_changes_nothing_but_what_was_replaced(link in links()) {
        let name = host_and_path(&link);
        if name.contains('/') && !name.contains([':', '~', ' ']) {
            prop_assert_eq!(host_and_path(&format!("https://{name}")), name);
        }
    }

    #[test]
    fn query_fragment_and_user_never_matter(user in "[a-z0-9:]{0,9}", query in "[^#]{0,20}", fragment in ".{0,20}") {
        let name = host_and_path(&format!("https://{user}@shop.example/sale?{query}#{fragment}"));
        prop_assert_eq!(name, "shop.example/sale");
    }

    #[test]
    fn any_text_has_a_name(text in ".{0,300}", tags in ".{0,60}") {
        for names in LinkNames::ALL {
            prop_assert!(!names.name_of(&click(Some(&text), &tags), &KEY).is_empty());
        }
    }
}
