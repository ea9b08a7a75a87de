//! Which tenant and dimensions events get.

use proptest::prelude::*;

use super::*;
use crate::event::EventType;
use crate::link::LinkNames;
use crate::provider::evidence::ProviderEvidence;
use crate::tags::Tags;
use crate::units::Timestamp;

fn event<'a>(tags: &[(&'a str, &'a str)], source: &'a str, destinations: &[&'a str]) -> EmailEvent<'a> {
    EmailEvent {
        event_type: EventType::Send,
        at: Timestamp::from_millis(0),
        sent_at: Some(Timestamp::from_millis(0)),
        message_id: Cow::Borrowed("0100018e77d94dc5-1"),
        recipients: destinations.iter().map(|&address| Cow::Borrowed(address)).collect(),
        destinations: destinations.iter().map(|&address| Cow::Borrowed(address)).collect(),
        destination_count: u32::try_from(destinations.len()).unwrap(),
        source: Cow::Borrowed(source),
        sending_account: Some(Cow::Borrowed("123456789012")),
        source_arn: None,
        tags: Tags::new(json(tags).leak()),
        evidence: ProviderEvidence::Absent,
    }
}

/// An event whose attribution depends on the text of its tags only.
pub(super) fn event_tagged(tags: &str) -> EmailEvent<'_> {
    EmailEvent { tags: Tags::new(tags), ..event(&[], "a@example.com", &[]) }
}

fn json(tags: &[(&str, &str)]) -> String {
    let fields = tags.iter().map(|(name, value)| (name.to_string(), serde_json::json!([value])));
    serde_json::Value::Object(fields.collect()).to_string()
}

fn attribution(settings: &str) -> Attribution {
    toml::from_str(settings).unwrap()
}

const MAPS: &str = r#"
[tenants]
by_configuration_set = { marketing = "acme" }
by_sending_domain = { "News.Example.com." = "news", "example.com" = "example" }
by_account = { 123456789012 = "account" }
"#;

fn check_tenant(settings: &str, tags: &[(&str, &str)], source: &str, expected: (&str, bool)) {
    let event = event(tags, source, &[]);
    let attribution = attribution(settings);
    let found = attribution.attribute(&event);
    assert_eq!((found.tenant.as_ref(), found.conflict), expected, "{tags:?} {source}");
}

#[test]
fn event_without_tag_and_mapping_is_unassigned() {
    check_tenant("", &[], "a@example.com", (TenantId::UNASSIGNED, false));
    check_tenant("", &[("tenant", "")], "", (TenantId::UNASSIGNED, false));
}

#[test]
fn tenant_is_taken_from_the_first_source_in_order() {
    let (set, ses) = (("ses:configuration-set", "marketing"), ("ses:tenant-name", "from-ses"));
    check_tenant(MAPS, &[("tenant", "tagged"), set], "a@example.com", ("tagged", false));
    check_tenant(MAPS, &[set], "a@example.com", ("acme", false));
    check_tenant(MAPS, &[], "News <a@NEWS.example.com>", ("news", false));
    check_tenant(MAPS, &[], "a@eu.news.example.com", ("news", false));
    check_tenant(MAPS, &[], "a@shop.example.com", ("example", false));
    check_tenant(MAPS, &[("ses:from-domain", "example.com")], "a@bounce.example", ("example", false));
    check_tenant(MAPS, &[], "a@other.example", ("account", false));
    check_tenant("", &[ses], "a@other.example", ("from-ses", false));
    check_tenant("tenant_tag = \"customer\"", &[("tenant", "a"), ("customer", "b")], "", ("b", false));
}

#[test]
fn contradicting_tenant_names_are_a_conflict_and_the_first_source_wins() {
    let ses = ("ses:tenant-name", "from-ses");
    check_tenant("", &[("tenant", "tagged"), ses], "", ("tagged", true));
    check_tenant("", &[("tenant", "from-ses"), ses], "", ("from-ses", false));
    check_tenant(MAPS, &[ses], "a@example.com", ("example", true));
}

#[test]
fn event_with_an_unusable_tenant_name_is_unassigned_and_a_conflict() {
    let long = "x".repeat(129);
    for name in ["a b", "a/b", "ä", "(unassigned)", "(none)", "*", &long] {
        check_tenant(MAPS, &[("tenant", name)], "a@example.com", (TenantId::UNASSIGNED, true));
        check_tenant("", &[("ses:tenant-name", name)], "", (TenantId::UNASSIGNED, true));
    }
}

#[test]
fn dimensions_are_taken_from_tags() {
    let attribution = attribution("tags = [\"template\", \"stream\"]");
    let tags = [
        ("campaign", " spring "),
        ("segment", "(other)"),
        ("stream", "bulk"),
        ("ses:configuration-set", "marketing"),
        ("ses:from-domain", "Example.COM"),
    ];
    let event = event(&tags, "a@bounce.example", &["jane@gmail.com"]);
    let values = attribution.attribute(&event).values;
    let expected = [
        "spring",
        "(invalid)",
        "example.com",
        "(none)",
        "(none)",
        "marketing",
        "(none)",
        "bulk",
        "(none)",
        "(none)",
    ];
    assert_eq!(values.each_ref().map(AsRef::as_ref), expected);
    assert_eq!(attribution.declared_tags(), ["template", "stream"]);
}

#[test]
fn usual_event_is_attributed_without_allocating() {
    let tags = [("tenant", "acme"), ("campaign", "spring"), ("ses:from-domain", "example.com")];
    let event = event(&tags, "a@example.com", &["jane@gmail.com"]);
    let attribution = Attribution::default();
    let found = attribution.attribute(&event);
    let reader = attribution.recipients().interaction_dimensions(&event);
    for value in found.values.iter().chain([&found.tenant, &reader.domain]) {
        assert!(matches!(value, Cow::Borrowed(_)), "{value}");
    }
}

fn check_reader(destinations: &[&str], count: u32, expected: (&str, &str, bool)) {
    let mut event = event(&[], "", destinations);
    event.destination_count = count;
    let recipients = RecipientAttribution::default();
    let reader = recipients.interaction_dimensions(&event);
    let (domain, provider, simulator) = expected;
    assert_eq!(
        (reader.domain.as_ref(), reader.provider, reader.simulator),
        (domain, RecipientProvider::Known(provider), simulator),
        "{destinations:?} {count}"
    );
}

#[test]
fn interaction_has_the_dimensions_that_all_recipients_have_in_common() {
    check_reader(&["jane@gmail.com"], 1, ("gmail.com", "gmail", false));
    check_reader(&["jane@gmail.com", "joe@Gmail.com"], 2, ("gmail.com", "gmail", false));
    check_reader(&["jane@gmail.com", "joe@googlemail.com"], 2, ("(several)", "gmail", false));
    check_reader(&["jane@gmail.com", "joe@gmx.de"], 2, ("(several)", "(several)", false));
    check_reader(&["jane@gmail.com"], 2, ("(several)", "(several)", false));
    check_reader(&[], 0, ("(none)", "(none)", false));
    check_reader(&[], 3, ("(several)", "(several)", false));
    check_reader(&["success+1@simulator.amazonses.com"], 1, ("simulator.amazonses.com", "other", true));
    check_reader(&["bounce@simulator.amazonses.com", "a@gmail.com"], 2, ("(several)", "(several)", false));
}

#[test]
fn most_specific_mapped_domain_wins() {
    for (source, expected) in [
        ("a@news.example.com", "news"),
        ("a@x.y.news.example.com", "news"),
        ("a@xnews.example.com", "example"),
        ("a@example.com.", "example"),
        ("a@EXAMPLE.com", "example"),
        ("a@notexample.com", "account"),
        ("a@com", "account"),
        ("a@192.0.2.1", "account"),
        ("", "account"),
    ] {
        check_tenant(MAPS, &[], source, (expected, false));
    }
}

#[test]
fn additional_mappings_win_over_those_of_the_settings() {
    let additional = TenantMaps {
        by_configuration_set: [("marketing".to_owned(), "other".to_owned())].into(),
        by_sending_domain: [("shop.example.com".to_owned(), "shop".to_owned())].into(),
        ..TenantMaps::default()
    };
    let extended = attribution(MAPS).with_tenant_maps(additional).unwrap();
    for (tags, source, expected) in [
        (&[("ses:configuration-set", "marketing")][..], "a@example.com", "other"),
        (&[], "a@shop.example.com", "shop"),
        (&[], "a@example.com", "example"),
        (&[], "a@elsewhere.example", "account"),
    ] {
        assert_eq!(extended.attribute(&event(tags, source, &[])).tenant, expected, "{tags:?} {source}");
    }
    let reserved = TenantMaps {
        by_account: [("123456789012".to_owned(), "*".to_owned())].into(),
        ..TenantMaps::default()
    };
    let error = attribution(MAPS).with_tenant_maps(reserved).unwrap_err();
    assert_eq!(error.setting(), "by_account");
}

#[test]
fn tenant_name_of_ses_that_differs_from_the_mapping_is_a_conflict_even_if_it_is_unusable() {
    check_tenant(MAPS, &[("ses:tenant-name", "(unassigned)")], "a@example.com", ("example", true));
    check_tenant(MAPS, &[("ses:tenant-name", "example")], "a@example.com", ("example", false));
    check_tenant(MAPS, &[("ses:tenant-name", "")], "a@example.com", ("example", false));
}

#[test]
fn recipient_has_the_dimensions_of_its_address() {
    use RecipientProvider::{Known, OfDomain};
    for (address, expected) in [
        ("jane@gmail.com", ("gmail.com", Known("gmail"), false)),
        ("Jane <Jane@Mail.Yahoo.co.uk.>", ("mail.yahoo.co.uk", Known("yahoo"), false)),
        ("jane@company.example", ("company.example", OfDomain, false)),
        ("bounce@simulator.amazonses.com", ("simulator.amazonses.com", Known("other"), true)),
        ("x@sub.simulator.amazonses.com", ("sub.simulator.amazonses.com", OfDomain, false)),
        ("jane@192.0.2.1", ("(invalid)", Known("other"), false)),
        ("jane", ("(none)", Known("(none)"), false)),
        ("", ("(none)", Known("(none)"), false)),
    ] {
        let recipients = RecipientAttribution::default();
        let found = recipients.dimensions(address);
        assert_eq!((found.domain.as_ref(), found.provider, found.simulator), expected, "{address}");
    }
}

#[test]
fn operators_override_decides_before_the_list_and_before_evidence() {
    let settings = "[providers]\nby_recipient_domain = { \"Corp.Example\" = \"mimecast\", \"gmail.com\" = \"own-system\" }";
    let attribution: Attribution = toml::from_str(settings).unwrap();
    for (address, expected) in [
        ("a@corp.example", RecipientProvider::Known("mimecast")),
        ("a@sub.corp.example", RecipientProvider::OfDomain),
        ("a@gmail.com", RecipientProvider::Known("own-system")),
    ] {
        assert_eq!(attribution.recipients().dimensions(address).provider, expected, "{address}");
    }
}

#[test]
fn several_recipients_share_a_provider_only_if_it_is_certain() {
    let recipients = RecipientAttribution::default();
    for (addresses, expected) in [
        (["a@one.example", "b@one.example"], ("one.example", RecipientProvider::OfDomain)),
        (["a@one.example", "b@two.example"], ("(several)", RecipientProvider::Known("(several)"))),
        (["a@yahoo.com", "b@aol.com"], ("(several)", RecipientProvider::Known("yahoo"))),
        (["a@one.example", "b@yahoo.com"], ("(several)", RecipientProvider::Known("(several)"))),
    ] {
        let event = event(&[], "a@example.com", &addresses);
        let found = recipients.interaction_dimensions(&event);
        assert_eq!((found.domain.as_ref(), found.provider), expected, "{addresses:?}");
    }
}

#[test]
fn address_that_ses_sent_from_is_declared_by_a_name_that_queries_can_use() {
    let attribution = attribution("tags = [\"sending_ip\"]");
    let delivery = event(&[("ses:outgoing-ip", "192.0.2.7"), ("sending_ip", "x")], "a@b.example", &[]);
    assert_eq!(attribution.attribute(&delivery).values[Dimension::Tag1 as usize], "192.0.2.7");
    let send = event(&[("sending_ip", "x")], "a@b.example", &[]);
    assert_eq!(attribution.attribute(&send).values[Dimension::Tag1 as usize], "(none)");
    assert_eq!(attribution.declared_tags(), ["sending_ip"]);
}

#[test]
fn names_of_links_are_hashed_unless_the_settings_allow_more() {
    assert_eq!(attribution("").link_names(), LinkNames::Hash);
    assert_eq!(Attribution::default().link_names(), LinkNames::Hash);
    assert_eq!(attribution("[links]\nstore = \"host_and_path\"").link_names(), LinkNames::HostAndPath);
}

#[test]
fn unusable_settings_are_refused_by_name() {
    for (settings, expected) in [
        ("tags = [\"a\", \"b\", \"c\", \"d\", \"e\"]", "tags has 5 names: at most 4 are allowed"),
        ("campaign_tag = \"\"", "campaign_tag \"\" is not the name of a tag"),
        ("campaign_tag = \"tenant\"", "tag \"tenant\" is declared twice"),
        ("tags = [\"segment\"]", "tag \"segment\" is declared twice"),
        ("tags = [\"sending_ip\", \"ses:outgoing-ip\"]", "tag \"ses:outgoing-ip\" is declared twice"),
        ("links.store = \"everything\"", "unknown variant `everything`"),
        ("links.query = true", "unknown field `query`"),
        (
            "tenants.by_account = { 123456789012 = \"a b\" }",
            "tenant \"a b\" of \"123456789012\" in tenants.by_account is not a tenant's name",
        ),
        ("tenants.by_configuration_set = { a = \"(unassigned)\" }", "tenant \"(unassigned)\" of \"a\""),
        ("tenants.by_account = { 1 = \"acme\" }", "\"1\" in tenants.by_account is not an AWS account"),
        (
            "tenants.by_sending_domain = { \"a b\" = \"acme\" }",
            "\"a b\" in tenants.by_sending_domain is not a domain",
        ),
        (
            "providers.by_recipient_domain = { \"a b\" = \"gmail\" }",
            "provider \"gmail\" of \"a b\" in providers.by_recipient_domain cannot be used",
        ),
        ("providers.by_recipient_domain = { \"a.example\" = \"Own System\" }", "1 to 32 lower-case letters"),
        ("tenat_tag = \"x\"", "unknown field `tenat_tag`"),
        ("tenants.by_domain = {}", "unknown field `by_domain`"),
    ] {
        let error = toml::from_str::<Attribution>(settings).unwrap_err().to_string();
        assert!(error.contains(expected), "{settings}: {error}");
    }
    let four = toml::from_str::<Attribution>("tags = [\"a\", \"b\", \"c\", \"d\"]").unwrap();
    assert_eq!(four.declared_tags().len(), MAX_DECLARED_TAGS);
}

proptest! {
    #[test]
    fn any_text_becomes_short_harmless_values(address in ".{0,300}", tag in ".{0,600}", domain in ".{0,300}") {
        let tags = [("tenant", tag.as_str()), ("campaign", &tag), ("ses:from-domain", &domain)];
        let event = event(&tags, &address, &[&address]);
        let attribution = Attribution::default();
        let found = attribution.attribute(&event);
        prop_assert!(TenantId::from_stored(&found.tenant).is_ok());
        let recipients = RecipientAttribution::default();
        for value in found.values.iter().chain([&recipients.interaction_dimensions(&event).domain]) {
            prop_assert!((1..=256).contains(&value.len()) && !value.chars().any(char::is_control), "{:?}", value);
        }
    }
}
