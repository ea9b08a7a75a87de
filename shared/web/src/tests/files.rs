//! The dashboard's files.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::dashboard::FILES;

async fn load(uri: &str, known: Option<&str>) -> Reply {
    let mut request = Request::get(uri);
    if let Some(etag) = known {
        request = request.header("if-none-match", etag);
    }
    World::new().send(request.body(Body::empty()).unwrap()).await
}

#[test]
fn every_file_of_the_folder_is_embedded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dashboard");
    let found: BTreeSet<_> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let listed: BTreeSet<_> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(listed, found);
}

#[tokio::test]
async fn every_file_has_its_type_and_cannot_reach_another_host() {
    for (name, content) in FILES {
        let uri = match *name {
            "index.html" => "/".to_owned(),
            "docs.html" => "/docs".to_owned(),
            _ => format!("/assets/{name}"),
        };
        let reply = load(&uri, None).await;
        assert_eq!((reply.status, &reply.body[..]), (StatusCode::OK, *content), "{uri}");
        let expected = match name.rsplit('.').next().unwrap() {
            "html" => "text/html; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("{other} has no content type"),
        };
        assert_eq!(reply.header("content-type"), expected);
        let policy = reply.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'), "{policy}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert_eq!(reply.header("cross-origin-opener-policy"), "same-origin");
    }
}

#[tokio::test]
async fn every_asset_of_the_page_is_served() {
    let page = load("/", None).await;
    for part in page.text().split(['"', '\'']).filter(|part| part.starts_with("assets/")) {
        assert_eq!(load(&format!("/{part}"), None).await.status, StatusCode::OK, "{part}");
    }
}

#[tokio::test]
async fn file_that_the_browser_has_is_not_sent_again() {
    let first = load("/", None).await;
    assert_eq!(first.header("cache-control"), "no-cache");
    let etag = first.header("etag");
    let strong = etag.strip_prefix("W/").unwrap();
    assert!(strong.starts_with('"') && strong.ends_with('"'));
    for known in [etag.to_owned(), strong.to_owned(), format!("\"other\", {etag}"), "*".to_owned()] {
        let again = load("/", Some(&known)).await;
        assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0), "{known}");
        assert_eq!(again.header("etag"), etag);
    }
    for other in ["\"other\"", "", strong.trim_matches('"')] {
        assert_eq!(load("/", Some(other)).await.status, StatusCode::OK, "{other}");
    }
}
