//! Tenants and keys: an operator's calls, what a key opens, and the document that describes them.

use axum::http::StatusCode;
use serde_json::json;

use super::*;

impl World {
    async fn call(&self, key: &str, method: &str, uri: &str, body: Value) -> Reply {
        let body = if body.is_null() { Body::empty() } else { body.to_string().into() };
        self.send(bearer(key, method, uri).body(body).unwrap()).await
    }
}

#[tokio::test]
async fn a_tenant_is_added_renamed_suspended_and_erased() {
    let world = World::new();
    let added = world.call(OPERATOR, "POST", "/v1/tenants", json!({"id": "globex"})).await;
    let plain = |name: &str, suspended: bool| json!({"id": "globex", "name": name, "suspended": suspended, "timezone": null, "tag_names": {}, "queues": []});
    assert_eq!(added.json(), plain("globex", false));
    let again = world.call(OPERATOR, "POST", "/v1/tenants", json!({"id": "globex"})).await;
    assert_eq!((again.status, again.problem()), (StatusCode::CONFLICT, "conflict".to_owned()));
    let change = json!({"name": "Globex Ltd", "suspended": true});
    let changed = world.call(OPERATOR, "PATCH", "/v1/tenants/globex", change).await;
    assert_eq!(changed.json(), plain("Globex Ltd", true));
    let kept = world.call(OPERATOR, "PATCH", "/v1/tenants/globex", json!({"suspended": false})).await;
    assert_eq!(kept.json(), plain("Globex Ltd", false));
    let erased = world.call(OPERATOR, "DELETE", "/v1/tenants/globex", Value::Null).await;
    assert_eq!(erased.json(), json!({"erased": "globex"}));
    for method in ["GET", "DELETE"] {
        let gone = world.call(OPERATOR, method, "/v1/tenants/globex", Value::Null).await;
        assert_eq!(gone.status, StatusCode::NOT_FOUND);
    }
    for body in [json!({}), json!({"id": ""}), json!({"id": "a#b"}), json!({"id": "a", "x": 1}), json!(["a"])]
    {
        let refused = world.call(OPERATOR, "POST", "/v1/tenants", body.clone()).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body}");
    }
}

#[tokio::test]
async fn a_tenants_settings_are_set_kept_and_taken_away() {
    let world = World::new();
    let set = async |body| world.call(OPERATOR, "PATCH", "/v1/tenants/acme", body).await;
    let berlin = set(json!({"timezone": "Europe/Berlin", "tag_names": {"tag2": "shop"}})).await.json();
    assert_eq!(
        (&berlin["timezone"], &berlin["tag_names"]),
        (&json!("Europe/Berlin"), &json!({"tag2": "shop"}))
    );
    let kept = set(json!({"name": "A"})).await.json();
    assert_eq!((&kept["timezone"], &kept["tag_names"]), (&json!("Europe/Berlin"), &json!({"tag2": "shop"})));
    let gone = set(json!({"timezone": null, "tag_names": {}})).await.json();
    assert_eq!((&gone["timezone"], &gone["tag_names"]), (&Value::Null, &json!({})));
    let outbox = "https://sqs.eu-central-1.amazonaws.com/123456789012/outbox";
    let named = set(json!({"queues": [outbox]})).await.json();
    assert_eq!(
        (&named["queues"], &set(json!({"name": "B"})).await.json()["queues"]),
        (&json!([outbox]), &json!([outbox]))
    );
    assert_eq!(set(json!({"queues": []})).await.json()["queues"], json!([]));
    for (body, parameter) in [
        (json!({"queues": ["outbox"]}), "queues"),
        (json!({"queues": vec![outbox; 21]}), "queues"),
        (json!({"timezone": "Mars/Base"}), "timezone"),
        (json!({"tag_names": {"tag5": "a"}}), "tag_names"),
        (json!({"tag_names": {"tag1": "provider"}}), "tag_names"),
        (json!({"tag_names": {"tag1": "a,b"}}), "tag_names"),
        (json!({"tag_names": {"tag1": "a", "tag2": "a"}}), "tag_names"),
    ] {
        let refused = set(body.clone()).await;
        assert_eq!(
            (refused.status, &refused.json()["parameter"]),
            (StatusCode::BAD_REQUEST, &json!(parameter)),
            "{body}"
        );
    }
}

#[tokio::test]
async fn mappings_are_set_changed_and_refused_with_the_entry_that_is_wrong() {
    let world = World::new();
    let call = async |method, body| world.call(OPERATOR, method, "/v1/attribution", body).await;
    let empty = json!({"by_configuration_set": {}, "by_sending_domain": {}, "by_account": {}});
    assert_eq!(call("GET", Value::Null).await.json(), empty);
    let set = call("PUT", json!({"by_sending_domain": {"a.example": "acme", "b.example": "globex"}})).await;
    assert_eq!(set.json()["by_sending_domain"], json!({"a.example": "acme", "b.example": "globex"}));
    let change = json!({"by_sending_domain": {"a.example": null}, "by_account": {"123456789012": "acme"}});
    let changed = call("PATCH", change).await.json();
    assert_eq!(changed["by_sending_domain"], json!({"b.example": "globex"}));
    assert_eq!(call("GET", Value::Null).await.json(), changed);
    for (body, parameter) in [
        (json!({"by_account": {"1": "acme"}}), "by_account"),
        (json!({"by_sending_domain": {"a b": "acme"}}), "by_sending_domain"),
        (json!({"by_configuration_set": {"set": "(other)"}}), "by_configuration_set"),
    ] {
        for method in ["PUT", "PATCH"] {
            let refused = call(method, body.clone()).await;
            assert_eq!(refused.json()["parameter"], parameter, "{}", refused.text());
        }
    }
    assert_eq!(call("GET", Value::Null).await.json(), changed);
    assert_eq!(call("PUT", json!({})).await.json(), empty);
}

#[tokio::test]
async fn a_key_is_made_shown_once_rotated_and_revoked() {
    let world = World::new();
    let keys = "/v1/tenants/acme/keys";
    let made = world
        .call(OPERATOR, "POST", keys, json!({"name": "d", "scopes": ["read"], "expires_in_days": 10}))
        .await;
    assert_eq!(made.json()["key"], "mg_k0", "{}", made.text());
    assert_eq!(made.json()["scopes"], json!(["read"]));
    let listed = world.call(OPERATOR, "GET", keys, Value::Null).await;
    assert!(listed.json()["keys"][0]["key"].is_null() && listed.json()["keys"][0]["id"] == "k0");
    let rotated =
        world.call(OPERATOR, "POST", &format!("{keys}/k0/rotate"), json!({"overlap_hours": 2})).await;
    assert_eq!((&rotated.json()["key"], &rotated.json()["scopes"]), (&json!("mg_k1"), &json!(["read"])));
    let listed = world.call(OPERATOR, "GET", keys, Value::Null).await.json();
    assert_eq!(listed["keys"][0]["expires_at"], "2026-11-25T14:01:00Z");
    assert_eq!(listed["keys"][1]["expires_at"], "2026-12-05T12:01:00Z");
    let revoked = world.call(OPERATOR, "DELETE", &format!("{keys}/k1"), Value::Null).await;
    assert_eq!(revoked.json()["revoked_at"], "2026-11-25T12:01:00Z");
    let over = world.call(OPERATOR, "POST", &format!("{keys}/k1/rotate"), json!({})).await;
    assert_eq!(over.status, StatusCode::CONFLICT);
    // Another tenant's key is none.
    world.call(OPERATOR, "POST", "/v1/tenants", json!({"id": "globex"})).await;
    let other = world.call(OPERATOR, "DELETE", "/v1/tenants/globex/keys/k0", Value::Null).await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
    for body in [
        json!({"name": ""}),
        json!({"name": "a", "scopes": ["operator"]}),
        json!({"name": "a", "scopes": ["rules"]}),
        json!({"name": "a", "expires_in_days": 0}),
    ] {
        assert_eq!(
            world.call(OPERATOR, "POST", keys, body.clone()).await.status,
            StatusCode::BAD_REQUEST,
            "{body}"
        );
    }
}

#[tokio::test]
async fn reserved_names_are_refused_for_tenants_mappings_rules_and_keys() {
    let world = World::new();
    // Older versions allowed these names.
    for name in ["*", "(unassigned)"] {
        let id = TenantId::new(name).unwrap();
        let tenant = Tenant { id: name.to_owned(), ..world.fake.tenant(&acme()).await.unwrap().unwrap() };
        world.fake.describe(&id, tenant).await.unwrap();
    }
    for name in ["*", "(unassigned)", "(other)", "(none)", "(mine)"] {
        let refused = world.call(OPERATOR, "POST", "/v1/tenants", json!({"id": name})).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text());
        assert_eq!(refused.json()["parameter"], "id");
        assert!(refused.text().contains("reserved"), "{}", refused.text());
        for map in ["by_configuration_set", "by_sending_domain", "by_account"] {
            for method in ["PUT", "PATCH"] {
                let body = json!({ map: { "123456789012": name } });
                let refused = world.call(OPERATOR, method, "/v1/attribution", body).await;
                assert_eq!(refused.json()["parameter"], map, "{}", refused.text());
            }
        }
        for field in ["overrides", "maintenance"] {
            let (from, until) = ("2026-11-25T08:00:00Z", "2026-11-25T09:00:00Z");
            let quiet = json!({"tenant": name, "from": from, "until": until});
            let rule = json!({"tenant": name, "bounce_rate": 0.5});
            let body = json!({ field: [if field == "maintenance" { quiet } else { rule }] });
            let reply = world.call(OPERATOR, "PUT", "/v1/rules", body).await;
            // Operators may set limits for unassigned mail.
            let expected = if name == "(unassigned)" { StatusCode::OK } else { StatusCode::BAD_REQUEST };
            assert_eq!(reply.status, expected, "{field} {name}: {}", reply.text());
        }
    }
    for name in ["*", "(unassigned)"] {
        let uri = format!("/v1/tenants/{name}/keys");
        let refused = world.call(OPERATOR, "POST", &uri, json!({"name": "k"})).await;
        assert_eq!(
            (refused.status, refused.problem()),
            (StatusCode::BAD_REQUEST, "invalid-parameter".into())
        );
        assert!(refused.text().contains("reserved"), "{}", refused.text());
        // Tenants stored by an older version can still be read and erased.
        assert_eq!(world.get(OPERATOR, &format!("/v1/tenants/{name}")).await.status, StatusCode::OK);
        assert_eq!(world.get(OPERATOR, &uri).await.status, StatusCode::OK);
        let erased = world.call(OPERATOR, "DELETE", &format!("/v1/tenants/{name}"), Value::Null).await;
        assert_eq!(erased.json(), json!({"erased": name}));
    }
    assert!(world.fake.keys.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_key_for_a_reserved_name_is_not_renewed() {
    let world = World::new();
    let id = TenantId::unassigned();
    let tenant = Tenant { id: id.to_string(), ..world.fake.tenant(&acme()).await.unwrap().unwrap() };
    world.fake.describe(&id, tenant).await.unwrap();
    world.fake.add_key(Grant::Tenant(id), "old", None).await.unwrap();
    let keys = "/v1/tenants/(unassigned)/keys/k0";
    let refused = world.call(OPERATOR, "POST", &format!("{keys}/rotate"), json!({})).await;
    assert_eq!((refused.status, refused.problem()), (StatusCode::BAD_REQUEST, "invalid-parameter".into()));
    assert_eq!(world.call(OPERATOR, "DELETE", keys, Value::Null).await.status, StatusCode::OK);
}

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

#[tokio::test]
async fn nobody_but_an_operator_reaches_tenants_and_keys() {
    let world = World::new();
    for key in [ACME, READER, INGEST, SUSPENDED] {
        for (method, uri) in [
            ("GET", "/v1/tenants"),
            ("POST", "/v1/tenants"),
            ("GET", "/v1/tenants/acme"),
            ("PATCH", "/v1/tenants/acme"),
            ("DELETE", "/v1/tenants/acme"),
            ("GET", "/v1/tenants/acme/keys"),
            ("POST", "/v1/tenants/acme/keys"),
            ("POST", "/v1/tenants/acme/keys/k0/rotate"),
            ("DELETE", "/v1/tenants/acme/keys/k0"),
            ("GET", "/v1/attribution"),
            ("PUT", "/v1/attribution"),
            ("PATCH", "/v1/attribution"),
            ("GET", "/v1/overview"),
            ("GET", "/v1/audit"),
        ] {
            let reply = world.call(key, method, uri, json!({})).await;
            assert_eq!(reply.status, StatusCode::FORBIDDEN, "{key} {method} {uri}");
        }
    }
    assert_eq!(world.fake.tenants.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn who_changes_what_is_kept() {
    let world = World::new();
    world.call(OPERATOR, "POST", "/v1/tenants", json!({"id": "globex"})).await;
    world.call(OPERATOR, "PATCH", "/v1/tenants/globex", json!({"suspended": true})).await;
    let key = world.call(OPERATOR, "POST", "/v1/tenants/globex/keys", json!({"name": "k"})).await.json();
    let place = format!("/v1/tenants/globex/keys/{}", key["id"].as_str().unwrap());
    world.call(OPERATOR, "DELETE", &place, Value::Null).await;
    world.call(ACME, "PUT", "/v1/rules", json!({})).await;
    // What is refused is no change.
    world.call(READER, "PUT", "/v1/rules", json!({})).await;
    world.call(OPERATOR, "DELETE", "/v1/tenants/globex", Value::Null).await;
    let trail = world.get(OPERATOR, "/v1/audit").await.json();
    let told: Vec<(&str, &str, &str)> = trail["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| ["who", "action", "subject"].map(|part| entry[part].as_str().unwrap()).into())
        .collect();
    let (operator, acme) = ("key of mg_operator", "key of mg_acme");
    let expected = [
        (operator, "tenant.erase", "globex"),
        (acme, "rules.set", "acme"),
        (operator, "key.revoke", key["id"].as_str().unwrap()),
        (operator, "key.add", "globex"),
        (operator, "tenant.suspend", "globex"),
        (operator, "tenant.add", "globex"),
    ];
    assert_eq!(told, expected);
    // Nothing is changed that cannot be kept.
    let down = World::with(Mood::Down, None);
    let reply = down.call(OPERATOR, "DELETE", "/v1/tenants/acme", Value::Null).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(down.fake.tenants.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_that_reads_sets_nothing_and_one_of_a_suspended_tenant_opens_nothing() {
    let world = World::new();
    assert_eq!(world.get(READER, "/v1/rules").await.status, StatusCode::OK);
    assert_eq!(world.call(READER, "PUT", "/v1/rules", json!({})).await.problem(), "forbidden");
    let id = "/v1/alerts/al_01c2f3a40123456789";
    assert_eq!(world.get(READER, id).await.status, StatusCode::OK);
    assert_eq!(
        world.call(READER, "POST", &format!("{id}/acknowledge"), Value::Null).await.problem(),
        "forbidden"
    );
    for uri in
        ["/v1/whoami", "/v1/rules", "/v1/alerts", "/v1/metrics?metrics=sends", "/v1/dimensions", "/v1/budget"]
    {
        assert_eq!(world.get(SUSPENDED, uri).await.status, StatusCode::FORBIDDEN, "{uri}");
    }
}

#[tokio::test]
async fn every_call_that_is_described_is_there() {
    let world = World::new();
    let reply = world.send(Request::builder().uri("/openapi.json").body(Body::empty()).unwrap()).await;
    let document = reply.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut calls = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let uri = path.replace("{id}", "acme").replace("{name}", "provider").replace("{key}", "k0");
            let request = Request::builder().method(method.to_uppercase().as_str()).uri(&uri);
            let reply = world.send(request.body(Body::empty()).unwrap()).await;
            assert!(
                reply.status != StatusCode::NOT_FOUND && reply.status != StatusCode::METHOD_NOT_ALLOWED,
                "{method} {uri}"
            );
            let status = reply.status.as_u16().to_string();
            assert!(
                methods[method]["responses"][&status].is_object(),
                "{method} {uri}: {status} is not described"
            );
            calls += 1;
        }
    }
    assert!(calls > 25, "{calls}");
    let page = world.send(Request::builder().uri("/docs").body(Body::empty()).unwrap()).await;
    assert!(page.text().contains("assets/docs.js"));
}
