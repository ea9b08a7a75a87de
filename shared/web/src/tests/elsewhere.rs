//! Pages of other hosts (CORS), and compressed replies.

use std::io::Read as _;

use super::*;

/// A router whose API pages from these origins may call.
fn open_to(origins: &[&str]) -> Router {
    let World { service, sns, .. } = World::new();
    let origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
    router(service, sns, RouterSettings { origins, ..RouterSettings::default() })
}

async fn ask(app: Router, method: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap) {
    let mut request = Request::builder().method(method).uri("/v1/whoami");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    (response.status(), response.headers().clone())
}

#[tokio::test]
async fn page_of_another_host_may_call_only_if_its_origin_is_configured() {
    let asks = |origin: &'static str| {
        [
            ("origin", origin),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "authorization,x-mailgauge-tenant"),
        ]
    };
    let app = || open_to(&["https://app.example.com"]);
    let (status, headers) = ask(app(), "OPTIONS", &asks("https://app.example.com")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["access-control-allow-origin"], "https://app.example.com");
    assert!(headers["access-control-allow-headers"].to_str().unwrap().contains("x-mailgauge-tenant"));
    assert!(!headers.contains_key("access-control-allow-credentials"));
    let (_, headers) = ask(app(), "OPTIONS", &asks("https://evil.example.com")).await;
    assert!(!headers.contains_key("access-control-allow-origin"), "{headers:?}");
    let key = format!("Bearer {ACME}");
    let get = [("origin", "https://app.example.com"), ("authorization", key.as_str())];
    let (status, headers) = ask(app(), "GET", &get).await;
    assert_eq!(status, StatusCode::OK);
    assert!(headers["access-control-expose-headers"].to_str().unwrap().contains("ratelimit-remaining"));
    let (_, headers) = ask(World::new().app, "GET", &get).await;
    assert!(!headers.contains_key("access-control-allow-origin"), "no origin is configured");
}

#[tokio::test]
async fn long_replies_are_compressed_for_clients_that_accept_it() {
    let world = World::new();
    let whole = world.get(OPERATOR, "/openapi.json").await;
    for encoding in ["gzip", "br"] {
        let request = bearer(OPERATOR, "GET", "/openapi.json").header("accept-encoding", encoding);
        let reply = world.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.header("content-encoding"), encoding);
        assert_eq!(reply.header("vary"), "accept-encoding");
        assert!(reply.body.len() * 3 < whole.body.len(), "{encoding}: {}", reply.body.len());
        if encoding == "gzip" {
            let mut text = Vec::new();
            flate2::read::GzDecoder::new(&*reply.body).read_to_end(&mut text).unwrap();
            assert_eq!(text, whole.body);
        }
    }
    let request = bearer(OPERATOR, "GET", "/v1/whoami").header("accept-encoding", "gzip");
    let reply = world.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(reply.header("content-encoding"), "", "short replies are not compressed");
}
