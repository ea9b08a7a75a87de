//! The two kinds of URLs in SNS messages that we fetch, checked once, here.
//!
//! Whoever chooses where the certificate comes from can sign anything. Therefore a URL is compared character by character with the form
//! that AWS documents and never passed to a tolerant parser: no other scheme, port, user, host or encoding is accepted.
//! Source: <https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html>

/// Far longer than any URL that SNS sends (a token has 256 characters).
const MAX_URL_BYTES: usize = 2048;
const MAX_CERTIFICATE_NAME_BYTES: usize = 128;

/// The URL of a certificate: `https://sns.<region>.amazonaws.com/SimpleNotificationService-<id>.pem`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateUrl(String);

/// The URL that confirms a subscription: `https://sns.<region>.amazonaws.com/?Action=ConfirmSubscription&...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeUrl(String);

impl CertificateUrl {
    /// Checks a URL; `None` if SNS would not send it.
    pub fn parse(url: &str) -> Option<Self> {
        let name = path(url)?.strip_prefix("SimpleNotificationService-")?.strip_suffix(".pem")?;
        let fits = (1..=MAX_CERTIFICATE_NAME_BYTES).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        fits.then(|| Self(url.to_owned()))
    }

    /// The URL as SNS sent it, to be fetched unchanged.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SubscribeUrl {
    /// Checks a URL; `None` if SNS would not send it.
    pub fn parse(url: &str) -> Option<Self> {
        let query = path(url)?.strip_prefix("?Action=ConfirmSubscription&")?;
        // The characters of a percent-encoded query.
        let fits = query.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%=&:+".contains(&byte));
        fits.then(|| Self(url.to_owned()))
    }

    /// The URL as SNS sent it, to be fetched unchanged.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Path and query, if the host is the SNS endpoint of a region.
fn path(url: &str) -> Option<&str> {
    if url.len() > MAX_URL_BYTES {
        return None;
    }
    let (host, path) = url.strip_prefix("https://sns.")?.split_once('/')?;
    let region = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    is_region(region).then_some(path)
}

/// Whether a label has the form of a region: `us-east-1`, `us-gov-west-1`. Customers control other names under `amazonaws.com`:
/// `sns.s3.amazonaws.com` and `sns.s3-us-west-2.amazonaws.com` are somebody's bucket named "sns".
fn is_region(label: &str) -> bool {
    let parts: Vec<&str> = label.split('-').collect();
    let [area, directions @ .., number] = parts.as_slice() else { return false };
    let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_number = (1..=2).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    is_word(area) && !directions.is_empty() && directions.iter().all(is_word) && is_number
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE_HOSTS: [&str; 30] = [
        "https://sns.s3.amazonaws.com/",
        "https://sns.s3-us-west-2.amazonaws.com/",
        "https://sns.s3-accelerate.amazonaws.com/",
        "https://sns.elasticbeanstalk.amazonaws.com/",
        "https://sns.us-east.amazonaws.com/",
        "https://sns.us-1.amazonaws.com/",
        "https://sns.us--1.amazonaws.com/",
        "https://sns.us-east-100.amazonaws.com/",
        "http://sns.us-east-1.amazonaws.com/",
        "HTTPS://sns.us-east-1.amazonaws.com/",
        "//sns.us-east-1.amazonaws.com/",
        "https://sns.us-east-1.amazonaws.com.evil.com/",
        "https://sns.us-east-1.amazonaws.com@evil.com/",
        "https://evil.com@sns.us-east-1.amazonaws.com/",
        "https://sns.us-east-1.amazonaws.com:443/",
        "https://sns.us-east-1.amazonaws.com:443@evil.com/",
        "https://sns.evil.com/?.amazonaws.com/",
        "https://sns.evil.com#.amazonaws.com/",
        "https://sns.evil.com\\.amazonaws.com/",
        "https://sns.a.b.amazonaws.com/",
        "https://sns..amazonaws.com/",
        "https://sns.amazonaws.com/",
        "https://s3.us-east-1.amazonaws.com/",
        "https://sns.US-EAST-1.amazonaws.com/",
        "https://sns.us-east-1.amazonaws.com./",
        "https://sns.us-east-1%2eevil.amazonaws.com/",
        "https://sns.us-east-1.amazonaws.com.cn.evil.com/",
        "https://sns.us\t-east-1.amazonaws.com/",
        " https://sns.us-east-1.amazonaws.com/",
        "https://sns.us-east-1.amazonaws.com",
    ];

    #[test]
    fn urls_that_sns_sends_are_accepted() {
        for host in [
            "us-east-1.amazonaws.com",
            "ap-southeast-12.amazonaws.com",
            "us-gov-west-1.amazonaws.com",
            "cn-north-1.amazonaws.com.cn",
        ] {
            let certificate = format!("https://sns.{host}/SimpleNotificationService-0a1B2c3D.pem");
            assert_eq!(CertificateUrl::parse(&certificate).unwrap().as_str(), certificate);
            let subscribe = format!(
                "https://sns.{host}/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:us-west-2:1:t&Token=2336"
            );
            assert_eq!(SubscribeUrl::parse(&subscribe).unwrap().as_str(), subscribe);
        }
    }

    #[test]
    fn other_hosts_are_refused() {
        for host in HOSTILE_HOSTS {
            let certificate = format!("{host}SimpleNotificationService-0a1b.pem");
            assert_eq!(CertificateUrl::parse(&certificate), None, "{certificate}");
            let subscribe = format!("{host}?Action=ConfirmSubscription&Token=1");
            assert_eq!(SubscribeUrl::parse(&subscribe), None, "{subscribe}");
        }
    }

    #[test]
    fn other_paths_are_refused() {
        let long = format!("SimpleNotificationService-{}.pem", "a".repeat(MAX_CERTIFICATE_NAME_BYTES + 1));
        for path in [
            "",
            "SimpleNotificationService-.pem",
            "SimpleNotificationService-a.pem?x",
            "SimpleNotificationService-a/../b.pem",
            "SimpleNotificationService-a%2f.pem",
            "x/SimpleNotificationService-a.pem",
            "/SimpleNotificationService-a.pem",
            "bucket/evil.pem",
            &long,
        ] {
            let url = format!("https://sns.us-east-1.amazonaws.com/{path}");
            assert_eq!(CertificateUrl::parse(&url), None, "{url}");
        }
        for path in [
            "?Action=DeleteTopic&X=1",
            "?Action=ConfirmSubscription",
            "?Action=ConfirmSubscription&a=b\r\nX: y",
        ] {
            let url = format!("https://sns.us-east-1.amazonaws.com/{path}");
            assert_eq!(SubscribeUrl::parse(&url), None, "{url}");
        }
        let edge = |bytes| {
            let start = "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&";
            format!("{start}{}", "a".repeat(bytes - start.len()))
        };
        assert!(SubscribeUrl::parse(&edge(MAX_URL_BYTES)).is_some());
        assert!(SubscribeUrl::parse(&edge(MAX_URL_BYTES + 1)).is_none());
    }
}
