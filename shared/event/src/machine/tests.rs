//! User agents as they arrive, and who uses them.

use proptest::prelude::*;

use super::*;

const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36";
const GMAIL_PREFETCH: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0";
const HOUR_MS: i64 = 3_600_000;

fn fields(user_agent: &str, is_click: bool) -> InteractionFields<'_> {
    InteractionFields {
        user_agent,
        is_click,
        ip_address: "192.0.2.1",
        is_bot_event: None,
        millis_after_send: HOUR_MS,
    }
}

fn check(user_agent: &str, of_open: Requester, of_click: Requester) {
    assert_eq!(classify(&fields(user_agent, false)), of_open, "open by {user_agent}");
    assert_eq!(classify(&fields(user_agent, true)), of_click, "click by {user_agent}");
}

#[test]
fn browsers_and_mail_programs_are_people() {
    for user_agent in [
        CHROME,
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Thunderbird/128.13.0",
        "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Microsoft Outlook 16.0.17328; ms-office; MSOffice 16)",
        "Mozilla/5.0 (Linux; Android 11; CUBOT X50) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36",
    ] {
        assert_eq!(classify(&fields(user_agent, false)), Requester::Person, "{user_agent}");
    }
    check(CHROME, Requester::Person, Requester::Person);
}

#[test]
fn missing_user_agent_is_a_person() {
    check("", Requester::Person, Requester::Person);
}

#[test]
fn image_proxies_are_people_and_prefetchers_are_machines() {
    let google = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)";
    check(google, Requester::Person, Requester::Person);
    check(
        "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
        Requester::Person,
        Requester::Person,
    );
    check(GMAIL_PREFETCH, Requester::Machine("gmail_prefetch"), Requester::Machine("gmail_prefetch"));
    check("Mozilla/5.0", Requester::Machine("apple_mpp"), Requester::Machine("bare_agent"));
    check(" Mozilla/5.0 ", Requester::Machine("apple_mpp"), Requester::Machine("bare_agent"));
    check(&format!("{GMAIL_PREFETCH}x"), Requester::Person, Requester::Person);
}

#[test]
fn scanners_previews_crawlers_and_programs_are_machines() {
    for (user_agent, name) in [
        ("BarracudaCentral-Link-Scanner/1.0", "scanner_barracuda"),
        ("Mozilla/5.0 (compatible; Proofpoint URL Defense)", "scanner_proofpoint"),
        ("Mimecast-URL-Protect", "scanner_mimecast"),
        ("Expanse, a Palo Alto Networks company, searches across the global IPv4 space", "scanner_palo_alto"),
        ("Mozilla/5.0 (compatible; urlscan.io)", "scanner_other"),
        (&format!("{CHROME} BingPreview/1.0b"), "link_preview"),
        ("WhatsApp/2.23.20.0 A", "link_preview"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "crawler"),
        ("SomeNewBot/0.1", "crawler"),
        ("Mozilla/5.0 (compatible; thing; +https://thing.example/)", "crawler"),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/139.0.0.0 Safari/537.36",
            "headless_browser",
        ),
        ("python-requests/2.32.3", "http_library"),
        ("Go-http-client/2.0", "http_library"),
        ("CURL/8.5.0", "http_library"),
    ] {
        check(user_agent, Requester::Machine(name), Requester::Machine(name));
    }
    check("okhttp/4.12.0", Requester::Person, Requester::Machine("app_library"));
    check("Microsoft Office Existence Discovery", Requester::Person, Requester::Machine("office_discovery"));
}

#[test]
fn request_from_a_scanners_network_is_a_machine() {
    let from = |ip_address| classify(&InteractionFields { ip_address, ..fields(CHROME, true) });
    assert_eq!(from("67.231.156.12"), Requester::Machine("scanner_proofpoint_network"));
    assert_eq!(from("209.222.82.1"), Requester::Machine("scanner_barracuda_network"));
    for elsewhere in ["192.0.2.1", "2001:db8::1", "", "67.231.156.12, 192.0.2.1", "not an address"] {
        assert_eq!(from(elsewhere), Requester::Person, "{elsewhere}");
    }
}

#[test]
fn ses_flag_comes_first_except_for_known_prefetchers() {
    let with_flag = |user_agent, flag| {
        classify(&InteractionFields { is_bot_event: Some(flag), ..fields(user_agent, false) })
    };
    assert_eq!(with_flag(CHROME, "Likely"), Requester::Machine(SES_FLAG));
    assert_eq!(with_flag("Mozilla/5.0", "likely"), Requester::Machine(SES_FLAG));
    assert_eq!(with_flag("curl/8.5.0", "Unlikely"), Requester::Person);
    assert_eq!(with_flag("Mozilla/5.0", "Unlikely"), Requester::Machine("apple_mpp"));
    assert_eq!(with_flag(GMAIL_PREFETCH, "unlikely"), Requester::Machine("gmail_prefetch"));
    for undecided in ["", "Unknown", "true"] {
        assert_eq!(with_flag("curl/8.5.0", undecided), Requester::Machine("http_library"), "{undecided}");
        assert_eq!(with_flag(CHROME, undecided), Requester::Person, "{undecided}");
    }
}

#[test]
fn only_clicks_within_a_second_of_the_send_are_too_fast_for_people() {
    let after = |millis_after_send, click| {
        classify(&InteractionFields { millis_after_send, ..fields(CHROME, click) })
    };
    assert_eq!(after(0, true), Requester::Machine("click_at_once"));
    assert_eq!(after(1000, true), Requester::Machine("click_at_once"));
    assert_eq!(after(1001, true), Requester::Person);
    assert_eq!(after(-1, true), Requester::Person);
    assert_eq!(after(500, false), Requester::Person);
}

#[test]
fn ses_flag_likely_is_a_machine_whatever_the_user_agent() {
    for user_agent in [CHROME, GMAIL_PREFETCH, "curl/8.5.0", ""] {
        for is_click in [false, true] {
            let flagged = InteractionFields { is_bot_event: Some("LIKELY"), ..fields(user_agent, is_click) };
            assert_eq!(classify(&flagged), Requester::Machine(SES_FLAG), "{user_agent}");
        }
    }
}

#[test]
fn ses_flag_unlikely_overrules_scanner_networks_and_fast_clicks() {
    let unlikely = InteractionFields { is_bot_event: Some("Unlikely"), ..fields(CHROME, true) };
    assert_eq!(classify(&InteractionFields { ip_address: "67.231.156.12", ..unlikely }), Requester::Person);
    assert_eq!(classify(&InteractionFields { millis_after_send: 0, ..unlikely }), Requester::Person);
}

#[test]
fn first_matching_rule_names_the_machine() {
    let scanner = InteractionFields {
        ip_address: "209.222.82.1",
        millis_after_send: 500,
        ..fields("curl/8.5.0 barracuda", true)
    };
    for (fields, expected) in [
        (scanner, "click_at_once"),
        (InteractionFields { millis_after_send: HOUR_MS, ..scanner }, "scanner_barracuda_network"),
        (InteractionFields { millis_after_send: HOUR_MS, ip_address: "", ..scanner }, "scanner_barracuda"),
        (InteractionFields { is_click: false, ..scanner }, "scanner_barracuda_network"),
    ] {
        assert_eq!(classify(&fields), Requester::Machine(expected), "{fields:?}");
    }
}

#[test]
fn user_agent_beyond_the_limit_is_not_searched() {
    let agent = |padding: usize| format!("{}curl/8", "x".repeat(padding));
    let limit = rules::MAX_USER_AGENT_BYTES;
    assert_eq!(classify(&fields(&agent(limit - 5), true)), Requester::Machine("http_library"));
    assert_eq!(classify(&fields(&agent(limit - 4), true)), Requester::Person);
}

#[test]
fn every_rule_is_valid_and_has_a_source() {
    let file = rules::MachineRuleFile::built_in().unwrap();
    assert_eq!(file.version, RULES_VERSION);
    let mut names: Vec<&str> = Vec::new();
    for rule in &file.rules {
        assert!(rule.source.len() > 8, "{rule:?}");
        assert!(!names.contains(&rule.name.as_str()) && rule.name != SES_FLAG, "{rule:?}");
        assert!(rule.contains.iter().all(|text| text.len() >= 3 && *text == text.to_lowercase()), "{rule:?}");
        assert!(rule.networks.iter().all(|network| network::Network::parse(network).is_some()), "{rule:?}");
        let states_a_condition =
            !(rule.equals.is_empty() && rule.contains.is_empty() && rule.networks.is_empty());
        assert!(states_a_condition || rule.within_ms.is_some(), "{rule:?}");
        names.push(&rule.name);
    }
}

proptest! {
    #[test]
    fn any_text_is_classified(user_agent in ".{0,600}", flag in ".{0,10}", millis_after_send: i64, is_click: bool) {
        let first = InteractionFields { user_agent: &user_agent, ip_address: "", is_bot_event: Some(&flag), millis_after_send, is_click };
        prop_assert_eq!(classify(&first), classify(&first));
    }
}
