//! Administration survives `kill -9`: after a restart every acknowledged change is present, and an erased tenant stays erased until new
//! mail creates it again.
//!
//! The server is killed right after each reply, before any other request: a later request could write to disk what the change itself
//! did not.

use std::path::Path;

use adapters::system_clock::SystemClock;
use pipeline::ports::Clock as _;
use serde_json::{Value, json};

use crate::support::Server;

/// A change by the API, and a condition that holds after it.
struct Change {
    method: &'static str,
    path: String,
    body: Value,
    /// The change's action in the audit log.
    action: &'static str,
    holds: fn(&Client<'_>) -> bool,
}

/// A client of one running server, with the operator's key and a tenant's.
struct Client<'a> {
    server: &'a Server,
    operator: &'a str,
    /// The tenant's key; empty until it is made.
    tenant: &'a str,
}

impl Client<'_> {
    fn send(&self, key: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server.address))
            .header("authorization", format!("Bearer {key}"));
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .build()
            .into();
        let mut reply = if body.is_null() {
            agent.run(request.body(()).unwrap()).unwrap()
        } else {
            agent.run(request.body(body.to_string()).unwrap()).unwrap()
        };
        let text = reply.body_mut().read_to_string().unwrap();
        (reply.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn get(&self, path: &str) -> Value {
        self.send(self.operator, "GET", path, &Value::Null).1
    }

    fn status_for_tenant(&self) -> u16 {
        self.send(self.tenant, "GET", "/v1/whoami", &Value::Null).0
    }
}

/// A [`Change`] without a name for each field, to keep the list below readable.
fn change(
    (method, path): (&'static str, &str),
    body: Value,
    action: &'static str,
    holds: fn(&Client<'_>) -> bool,
) -> Change {
    Change { method, path: path.to_owned(), body, action, holds }
}

/// The changes in a tenant's life, each of which is possible after the ones before it.
fn changes(key_id: &str) -> Vec<Change> {
    let acme = "/v1/tenants/acme";
    vec![
        change(("PATCH", acme), json!({"timezone": "Europe/Berlin"}), "tenant.set", |client| {
            client.get("/v1/tenants/acme")["timezone"] == "Europe/Berlin"
        }),
        change(
            ("PATCH", "/v1/attribution"),
            json!({"by_sending_domain": {"mail.acme.example": "acme"}}),
            "attribution.set",
            |client| client.get("/v1/attribution")["by_sending_domain"]["mail.acme.example"] == "acme",
        ),
        change(("PUT", "/v1/rules"), json!({"limits": {"bounce_rate": 0.07}}), "rules.set", |client| {
            client.get("/v1/rules")["limits"]["bounce_rate"] == 0.07
        }),
        change(("PATCH", acme), json!({"suspended": true}), "tenant.suspend", |client| {
            client.get("/v1/tenants/acme")["suspended"] == true && client.status_for_tenant() != 200
        }),
        change(("PATCH", acme), json!({"suspended": false}), "tenant.resume", |client| {
            client.status_for_tenant() == 200
        }),
        change(("DELETE", &format!("{acme}/keys/{key_id}")), Value::Null, "key.revoke", |client| {
            client.status_for_tenant() == 401
        }),
        change(("POST", "/v1/tenants"), json!({"id": "globex", "name": "Globex"}), "tenant.add", |client| {
            client.get("/v1/tenants/globex")["name"] == "Globex"
        }),
        change(("DELETE", acme), Value::Null, "tenant.erase", |client| {
            client.get("/v1/tenants/acme")["status"] == 404
                && client.get("/v1/tenants")["tenants"].as_array().map(Vec::len) == Some(1)
        }),
    ]
}

/// Makes one change, kills the server as soon as it has answered, and restarts it. Returns the new server and the answer.
fn change_and_kill(server: Server, data: &Path, keys: (&str, &str), change: &Change) -> (Server, Value) {
    let client = Client { server: &server, operator: keys.0, tenant: keys.1 };
    let (status, reply) = client.send(keys.0, change.method, &change.path, &change.body);
    server.kill();
    assert!((200..300).contains(&status), "{} {}: {status} {reply}", change.method, change.path);
    (Server::start("serve", data, &[]), reply)
}

#[test]
fn every_acknowledged_change_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = Server::start("serve", &data, &[]);
    let operator = server.key.clone().expect("the first start prints a key");
    let mut actions = Vec::new();
    let mut make = |server: Server, tenant: &str, change: Change| {
        let (server, reply) = change_and_kill(server, &data, (&operator, tenant), &change);
        let client = Client { server: &server, operator: &operator, tenant };
        assert!((change.holds)(&client), "{} {} was lost with the process", change.method, change.path);
        actions.push(change.action);
        let audit = client.get("/v1/audit?from=-1d");
        let kept: Vec<&str> = audit["entries"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|entry| entry["action"].as_str())
            .collect();
        let mut expected = actions.clone();
        expected.reverse();
        assert_eq!(kept, expected, "the audit log after {} {}", change.method, change.path);
        (server, reply)
    };
    let add =
        change(("POST", "/v1/tenants"), json!({"id": "acme", "name": "Acme"}), "tenant.add", |client| {
            client.get("/v1/tenants/acme")["name"] == "Acme"
        });
    (server, _) = make(server, "", add);
    let add_key = change(
        ("POST", "/v1/tenants/acme/keys"),
        json!({"name": "reader", "scopes": ["read"]}),
        "key.add",
        |client| client.get("/v1/tenants/acme/keys")["keys"].as_array().map(Vec::len) == Some(1),
    );
    let (restarted, key) = make(server, "", add_key);
    server = restarted;
    let tenant_key = key["key"].as_str().unwrap().to_owned();
    for change in changes(key["id"].as_str().unwrap()) {
        (server, _) = make(server, &tenant_key, change);
    }
}

#[test]
fn mail_after_an_erasure_is_listed_reconciled_and_erased_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("serve", &folder.path().join("data"), &[]);
    let operator = server.key.clone().expect("the first start prints a key");
    let client = Client { server: &server, operator: &operator, tenant: "" };
    for round in 0..2 {
        let sent = json!({
            "eventType": "Send",
            "mail": {
                "timestamp": "2026-01-05T10:00:00Z",
                "messageId": format!("message-{round}"),
                "destination": ["ann@example.com"],
                "tags": {"tenant": ["acme"]},
            },
            "send": {},
        });
        let (status, reply) = client.send(&operator, "POST", "/v1/ingest/ses", &sent);
        assert_eq!((status, &reply["events"]), (200, &json!(1)), "round {round}");
        assert_eq!(client.get("/v1/tenants")["tenants"][0]["id"], "acme", "round {round}");
        let proof = client.get("/v1/reconcile?from=2026-01-05&to=2026-01-06");
        assert_eq!((&proof["aggregated"], &proof["drift"]), (&json!(1), &json!(0)), "round {round}: {proof}");
        assert_eq!(
            client.send(&operator, "DELETE", "/v1/tenants/acme", &Value::Null).0,
            200,
            "round {round}"
        );
        assert_eq!(client.get("/v1/tenants")["tenants"], json!([]), "round {round}");
    }
}

#[test]
fn backup_of_a_served_folder_is_a_folder_with_everything_acknowledged_before() {
    let folder = tempfile::tempdir().unwrap();
    let (data, copy) = (folder.path().join("data"), folder.path().join("copy"));
    let server = Server::start("serve", &data, &[]);
    let key = server.key.clone().unwrap();
    let client = Client { server: &server, operator: &key, tenant: "" };
    let (created, _) = client.send(&key, "POST", "/v1/tenants", &json!({"id": "acme", "name": "Acme Ltd"}));
    assert!(created < 300, "{created}");
    let ingest = |first: usize| {
        let events: Vec<String> = (first..first + 50).map(event).collect();
        let reply = ureq::post(format!("{}/v1/ingest/ses", server.address))
            .header("authorization", format!("Bearer {key}"))
            .send(events.join("\n"))
            .unwrap();
        assert!(reply.status().is_success());
    };
    ingest(0);
    let paths = [&copy, &data].map(|path| path.to_str().unwrap());
    std::thread::scope(|scope| {
        // Counting goes on while the folder is copied.
        scope.spawn(|| (1..20).for_each(|batch| ingest(50 * batch)));
        let (code, _, errors) = crate::support::mailgauge(&["backup", paths[0], "--data", paths[1]], b"");
        assert_eq!(code, 0, "{errors}");
    });
    let (code, _, errors) = crate::support::mailgauge(&["backup", paths[0], "--data", paths[1]], b"");
    assert!(code == 1 && errors.contains("must not replace"), "{errors}");
    server.kill();
    let restored = Server::start("serve", &copy, &[]);
    assert_eq!(restored.key, None, "the keys are restored");
    let client = Client { server: &restored, operator: &key, tenant: "" };
    assert_eq!(client.get("/v1/tenants/acme")["name"], "Acme Ltd");
    let proof = client.get("/v1/reconcile?from=-30d&to=now");
    let counted = proof["aggregated"].as_u64().unwrap_or_else(|| panic!("{proof}"));
    assert!(
        (50..=1_000).contains(&counted) && counted.is_multiple_of(50),
        "{counted}: each request whole or not at all"
    );
    assert_eq!(proof["drift"], 0);
    // The secrets are restored too: what was counted before is recognised.
    let reply = ureq::post(format!("{}/v1/ingest/ses", restored.address))
        .header("authorization", format!("Bearer {key}"))
        .send((0..50).map(event).collect::<Vec<_>>().join("\n"));
    assert!(reply.unwrap().status().is_success());
    let again = client.get("/v1/reconcile?from=-30d&to=now");
    assert_eq!((&again["aggregated"], &again["duplicates"]), (&json!(counted), &json!(50)));
}

/// A send of message `number` that happened now.
fn event(number: usize) -> String {
    let now = SystemClock.now();
    format!(
        r#"{{"eventType":"Send","mail":{{"timestamp":"{now}","messageId":"m{number}","destination":["a@example.com"],"tags":{{"tenant":["acme"]}}}},"send":{{}}}}"#
    )
}
