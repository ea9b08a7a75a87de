//! User agents as they arrive, and who uses them.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::fragments::MAX_FRAGMENTS;

/// The result for a request on its own.
fn classify(fields: &InteractionFields<'_>) -> Requester {
    super::classify(fields, &mut AgentCache::default())
}

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
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "bot"),
        ("SomeNewBot/0.1", "bot"),
        ("Mozilla/5.0 (compatible; thing; +https://thing.example/)", "link_in_agent"),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/139.0.0.0 Safari/537.36",
            "headless_browser",
        ),
        ("python-requests/2.32.3", "http_library"),
        ("Go-http-client/2.0", "http_library"),
        ("CURL/8.5.0", "http_library"),
        // Not an app of a phone, although "ios" is in it.
        ("axios/1.6.2", "http_library"),
    ] {
        check(user_agent, Requester::Machine(name), Requester::Machine(name));
    }
    check("okhttp/4.12.0", Requester::Person, Requester::Machine("app_library"));
    check("curl", Requester::Machine("http_library"), Requester::Machine("http_library"));
    check("Microsoft Office Existence Discovery", Requester::Person, Requester::Machine("office_discovery"));
}

#[test]
fn agents_are_recognised_by_what_programs_write_into_them() {
    for (user_agent, name) in [
        ("acme_linkbot", "bot"),
        ("RenderBots 3", "bot"),
        ("AcmeSpider/2.0", "crawler"),
        ("Acme-Google", "crawler"),
        ("acme-archiver 1.1", "crawler"),
        ("Acme/1.0 (www.acme.example)", "link_in_agent"),
        ("acme.com/policy", "link_in_agent"),
        ("Acme (ops@acme.example)", "address_in_agent"),
        ("AcmeScan", "vulnerability_scanner"),
        ("acme-unfurl/3", "link_preview"),
        ("Acme Image Proxy", "link_preview"),
        ("ChatGPT-User/1.0", "ai_agent"),
        ("Acme Uptime 2", "monitor"),
        ("Acme Markup Validator", "checker"),
        ("AcmeFeedReader/0.3", "feed_reader"),
        ("acme-http/1.1", "http_library"),
        ("default_user_agent", "http_library"),
        ("Acme Webhook", "program"),
        ("Mozilla/5.0 (compatible; Acme/1.0)", "compatible_program"),
        (
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Acme) Chrome/139.0.0.0 Safari/537.36",
            "open_engine",
        ),
    ] {
        check(user_agent, Requester::Machine(name), Requester::Machine(name));
    }
}

#[test]
fn words_inside_words_and_names_of_phones_are_no_sign_of_a_machine() {
    for user_agent in [
        "Mozilla/5.0 (Linux; Android 12; CUBOT KingKong; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/130.0.0.0 Mobile Safari/537.36",
        "Mozilla/5.0 (Linux; Android 12; Both Botany 3) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36",
        "Mozilla/5.0 (Linux; Android 13; SM-A536B; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/138.0.0.0 Mobile Safari/537.36 DocScanner/5.2",
        "Mozilla/5.0 (Linux; Android 13; SM-A536B; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/138.0.0.0 Mobile Safari/537.36 BabyMonitor/1.0 FeedTab/2",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 Instagram 330.0.3 (iPhone14,3; iOS 18_5; en_GB@calendar=gregorian)",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1 (Ecosia ios@11.2.0)",
        "Dalvik/2.1.0 (Linux; U; Android 14; Pixel 8 Build/AP2A.240805.005)",
        "Inbox/7.1 CFNetwork/1498.700.2 Darwin/23.6.0",
        "Acme%20Podcasts/3.0 (+http://acme.example/; iOS podcast app)",
        "AcmeWhatsApp/2.22.10 A",
    ] {
        check(user_agent, Requester::Person, Requester::Person);
    }
}

#[test]
fn mail_programs_that_name_no_system_are_people() {
    for user_agent in [
        "Outlook-iOS/711.3061168.prod.iphone",
        "AcmeMail/3.1",
        "The Bat! 11.0",
        "eMClient/10.1.0.0",
        "Lotus-Notes/10.0",
        "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
        "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Microsoft Outlook 16.0.17328; ms-office; MSOffice 16)",
    ] {
        check(user_agent, Requester::Person, Requester::Person);
    }
}

#[test]
fn link_is_opened_by_something_that_names_its_engine_or_system() {
    // Images are loaded by anything, so the same agents may be mail programs that nobody has heard of.
    for user_agent in ["Acme/1.2", "acme", "Acme Fetchless 2.0.1", "x/y"] {
        check(user_agent, Requester::Person, Requester::Machine("not_a_browser"));
    }
    for user_agent in ["Acme/1.2 (Windows NT 10.0)", "Acme/1.2 Android/14", "AcmeBrowser/1.0", "w3m/0.5.3"] {
        check(user_agent, Requester::Person, Requester::Person);
    }
}

#[test]
fn request_from_a_scanners_network_is_a_machine() {
    let from = |ip_address| classify(&InteractionFields { ip_address, ..fields(CHROME, true) });
    assert_eq!(from("67.231.156.12"), Requester::Machine("scanner_proofpoint_network"));
    assert_eq!(from("209.222.82.1"), Requester::Machine("scanner_barracuda_network"));
    assert_eq!(from("104.47.9.36"), Requester::Machine("scanner_microsoft_network"));
    assert_eq!(from("2a01:111:f403:c10c::1"), Requester::Machine("scanner_microsoft_network"));
    assert_eq!(from("::ffff:40.94.31.7"), Requester::Machine("scanner_safe_links_network"));
    assert_eq!(from("207.211.30.141"), Requester::Machine("scanner_mimecast_network"));
    assert_eq!(from("85.158.142.9"), Requester::Machine("scanner_symantec_network"));
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
    assert_eq!(with_flag("curl/8.5.0", "Unlikely"), Requester::ConfirmedPerson);
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
fn safe_links_network_follows_links_and_loads_no_images() {
    let from =
        |is_click| classify(&InteractionFields { ip_address: "40.94.31.7", ..fields(CHROME, is_click) });
    assert_eq!(from(true), Requester::Machine("scanner_safe_links_network"));
    assert_eq!(from(false), Requester::Person);
}

#[test]
fn ses_flag_unlikely_overrules_scanner_networks_and_fast_clicks() {
    let unlikely = InteractionFields { is_bot_event: Some("Unlikely"), ..fields(CHROME, true) };
    for flagged in [
        InteractionFields { ip_address: "67.231.156.12", ..unlikely },
        InteractionFields { millis_after_send: 0, ..unlikely },
    ] {
        assert_eq!(classify(&flagged), Requester::ConfirmedPerson, "{flagged:?}");
    }
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
    let agent = |padding: usize| format!("{}headless", "x".repeat(padding));
    let limit = rules::MAX_USER_AGENT_BYTES;
    assert_eq!(classify(&fields(&agent(limit - 8), false)), Requester::Machine("headless_browser"));
    assert_eq!(classify(&fields(&agent(limit - 7), false)), Requester::Person);
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
        assert!(rule.lacks.iter().all(|text| !text.is_empty() && *text == text.to_lowercase()), "{rule:?}");
        assert!(rule.networks.iter().all(|network| network::Network::parse(network).is_some()), "{rule:?}");
        let states_a_condition = !(rule.equals.is_empty()
            && rule.contains.is_empty()
            && rule.lacks.is_empty()
            && rule.networks.is_empty());
        assert!(states_a_condition || rule.within_ms.is_some(), "{rule:?}");
        names.push(&rule.name);
    }
    let fragments: BTreeSet<&String> =
        file.rules.iter().flat_map(|rule| rule.contains.iter().chain(&rule.lacks)).collect();
    assert!(fragments.len() <= MAX_FRAGMENTS, "{}", fragments.len());
}

proptest! {
    #[test]
    fn any_text_is_classified(user_agent in ".{0,600}", flag in ".{0,10}", millis_after_send: i64, is_click: bool) {
        let first = InteractionFields { user_agent: &user_agent, ip_address: "", is_bot_event: Some(&flag), millis_after_send, is_click };
        prop_assert_eq!(classify(&first), classify(&first));
    }
}

proptest! {
    #[test]
    fn requests_do_not_depend_on_those_before(
        agents in prop::collection::vec(prop_oneof![
            4 => prop::sample::select(vec![CHROME, GMAIL_PREFETCH, "Mozilla/5.0", " Mozilla/5.0 ", "", "curl/8.5.0", "bot"]).prop_map(str::to_owned),
            1 => "[a-z/ ]{0,3}",
            1 => "x{500,520}headless",
        ], 0..600),
    ) {
        let mut cache = AgentCache::default();
        for (index, agent) in agents.iter().enumerate() {
            let fields = fields(agent, index % 2 == 0);
            prop_assert_eq!(super::classify(&fields, &mut cache), classify(&fields), "{}", agent);
        }
    }
}
