//! User agents of people, image proxies, prefetchers and link scanners, with the networks they come from.

/// The program that opens a message or follows a link, and the network it calls from.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "the field's own word")]
pub(crate) struct UserAgent {
    pub(crate) user_agent: &'static str,
    /// The first three parts of its IP address; the last one is drawn.
    pub(crate) network: &'static str,
    /// The value of SES's `isBotEvent` for it.
    pub(crate) is_bot_event: &'static str,
    /// Whether it truly is a machine, whatever SES's flag says.
    pub(crate) machine: bool,
}

const fn person(user_agent: &'static str) -> UserAgent {
    UserAgent { user_agent, network: "203.0.113.", is_bot_event: "Unlikely", machine: false }
}

const fn machine(user_agent: &'static str, network: &'static str, is_bot_event: &'static str) -> UserAgent {
    UserAgent { user_agent, network, is_bot_event, machine: true }
}

/// Gmail's image proxy: a person opened.
pub(crate) const GOOGLE_PROXY: UserAgent =
    person("Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)");
/// Yahoo's image proxy: a person opened.
pub(crate) const YAHOO_PROXY: UserAgent =
    person("YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html");
/// Apple's Mail Privacy Protection, which loads images whether or not the mail is opened.
pub(crate) const APPLE_PROXY: UserAgent = machine("Mozilla/5.0", "192.0.2.", "Unlikely");
pub(crate) const GMAIL_PREFETCH: UserAgent = machine(
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0",
    "192.0.2.",
    "Likely",
);
/// Link scanners of company mail.
pub(crate) const SCANNERS: [UserAgent; 3] = [
    machine("BarracudaCentral-Link-Scanner/1.0", "209.222.82.", "Likely"),
    machine(
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
        "67.231.156.",
        "Likely",
    ),
    machine("Mimecast-URL-Protect", "192.0.2.", "Likely"),
];
/// Browsers in which people follow links.
pub(crate) const BROWSERS: [UserAgent; 5] = [
    person(
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
    ),
    person(
        "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Mobile Safari/537.36",
    ),
    person(
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36",
    ),
    person(
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36 Edg/139.0.0.0",
    ),
    person("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:141.0) Gecko/20100101 Firefox/141.0"),
];
/// Mail programs of people whose images are not loaded by a proxy.
pub(crate) const PEOPLE: [UserAgent; 7] = [
    person(
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
    ),
    person(
        "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Mobile Safari/537.36",
    ),
    person(
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36",
    ),
    person("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"),
    person(
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36 Edg/139.0.0.0",
    ),
    person("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:141.0) Gecko/20100101 Firefox/141.0"),
    person(
        "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Microsoft Outlook 16.0.17328; ms-office; MSOffice 16)",
    ),
];
