//! Tenants and keys: the calls of operators, what keys allow, and the document that describes all calls.

use event::TenantId;
use pipeline::directory::api_keys::{self, Grant};
use pipeline::directory::tenants;
use pipeline::layout;
use serde_json::json;

use super::*;

#[tokio::test]
async fn tenant_is_added_renamed_suspended_and_erased() {
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
async fn tenants_settings_are_set_kept_and_removed() {
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
async fn mappings_are_set_changed_and_refused_with_the_name_of_the_wrong_entry() {
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
async fn key_is_made_shown_once_rotated_and_revoked() {
    let world = World::new();
    let keys = "/v1/tenants/acme/keys";
    let made = world
        .call(OPERATOR, "POST", keys, json!({"name": "d", "scopes": ["read"], "expires_in_days": 10}))
        .await;
    assert_eq!(made.json()["scopes"], json!(["read"]), "{}", made.text());
    let (first, first_id) = key_and_id(&made);
    assert_eq!(world.get(&first, "/v1/whoami").await.json()["name"], "d");
    let listed = listed_key(&world, &first_id).await;
    let expected = json!({
        "id": first_id, "name": "d", "scopes": ["read"], "created_at": NOW, "expires_at": "2026-12-05T12:01:00Z",
        "revoked_at": null, "last_used_at": NOW,
    });
    assert_eq!(listed, expected, "the key itself is not shown again");
    let rotate = |id: &str| format!("{keys}/{id}/rotate");
    let rotated = world.call(OPERATOR, "POST", &rotate(&first_id), json!({"overlap_hours": 2})).await;
    assert_eq!(rotated.json()["scopes"], json!(["read"]));
    let (second, second_id) = key_and_id(&rotated);
    assert_ne!(first, second);
    assert_eq!(listed_key(&world, &first_id).await["expires_at"], "2026-11-25T14:01:00Z");
    assert_eq!(listed_key(&world, &second_id).await["expires_at"], "2026-12-05T12:01:00Z");
    let revoked = world.call(OPERATOR, "DELETE", &format!("{keys}/{second_id}"), Value::Null).await;
    assert_eq!(revoked.json()["revoked_at"], NOW);
    assert_eq!(world.get(&second, "/v1/whoami").await.problem(), "invalid-credential");
    let again = world.call(OPERATOR, "POST", &rotate(&second_id), json!({})).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    // The old key ends after the overlap.
    assert_eq!(world.get(&first, "/v1/whoami").await.status, StatusCode::OK);
    world.clock.set(at("2026-11-25T14:01:00Z"));
    assert_eq!(world.get(&first, "/v1/whoami").await.problem(), "invalid-credential");
    // The key of another tenant is not found.
    world.call(OPERATOR, "POST", "/v1/tenants", json!({"id": "globex"})).await;
    let other =
        world.call(OPERATOR, "DELETE", &format!("/v1/tenants/globex/keys/{first_id}"), Value::Null).await;
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
async fn operators_make_rotate_and_revoke_keys_without_a_tenant_while_serving() {
    let world = World::new();
    let names = |reply: &Reply| -> Vec<String> {
        let keys = reply.json()["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect()
    };
    let made = world.call(OPERATOR, "POST", "/v1/keys", json!({"name": "second", "scope": "operator"})).await;
    assert_eq!(made.json()["scopes"], json!(["operator"]), "{}", made.text());
    let (second, second_id) = key_and_id(&made);
    assert_eq!(world.get(&second, "/v1/tenants").await.status, StatusCode::OK);
    let feed = world.call(&second, "POST", "/v1/keys", json!({"name": "feed", "scope": "ingest"})).await;
    let (feed, feed_id) = key_and_id(&feed);
    assert_eq!(world.get(&feed, "/v1/keys").await.status, StatusCode::FORBIDDEN);
    let listed = world.get(OPERATOR, "/v1/keys").await;
    assert!(names(&listed).contains(&second_id) && names(&listed).contains(&feed_id), "{}", listed.text());
    assert!(!listed.text().contains("mg_") && !names(&listed).contains(&seed().spare_key));
    let rotate = format!("/v1/keys/{feed_id}/rotate");
    let (newer, _) = key_and_id(&world.call(OPERATOR, "POST", &rotate, json!({"overlap_hours": 0})).await);
    assert_eq!(world.post(&feed, "/v1/ingest/ses", "{}").await.problem(), "invalid-credential");
    assert_ne!(world.post(&newer, "/v1/ingest/ses", "{}").await.status, StatusCode::UNAUTHORIZED);
    // A revoked key is refused from the next request on.
    let uri = format!("/v1/keys/{second_id}");
    assert_eq!(world.call(OPERATOR, "DELETE", &uri, Value::Null).await.json()["revoked_at"], NOW);
    assert_eq!(world.get(&second, "/v1/keys").await.problem(), "invalid-credential");
    // Keys of tenants are another resource.
    let uri = format!("/v1/keys/{}", seed().spare_key);
    assert_eq!(world.call(OPERATOR, "DELETE", &uri, Value::Null).await.status, StatusCode::NOT_FOUND);
    for body in [
        json!({"name": "a"}),
        json!({"name": "a", "scope": "read"}),
        json!({"name": "a", "scope": "operator", "tenant": "acme"}),
        json!({"name": "a", "scope": "ingest", "expires_in_days": 0}),
    ] {
        let refused = world.call(OPERATOR, "POST", "/v1/keys", body.clone()).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body}");
    }
}

/// The key and its id in the reply that made it.
fn key_and_id(reply: &Reply) -> (String, String) {
    let json = reply.json();
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    (text("key"), text("id"))
}

/// A key of `acme` as it is listed.
async fn listed_key(world: &World, id: &str) -> Value {
    let listed = world.get(OPERATOR, "/v1/tenants/acme/keys").await.json();
    listed["keys"].as_array().unwrap().iter().find(|key| key["id"] == id).unwrap().clone()
}

#[tokio::test]
async fn reserved_names_are_refused_for_tenants_mappings_rules_and_keys() {
    let world = World::new();
    // Mail without a tenant has been counted.
    tenants::register(&world.store, &TenantId::unassigned()).await.unwrap();
    let keys = api_keys::list(&world.store).await.unwrap();
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
    }
    // Mail without a tenant can be read and erased like that of a tenant; no tenant can be called `*`.
    for (uri, expected) in [
        ("/v1/tenants/(unassigned)", StatusCode::OK),
        ("/v1/tenants/(unassigned)/keys", StatusCode::OK),
        ("/v1/tenants/*", StatusCode::NOT_FOUND),
        ("/v1/tenants/*/keys", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(world.get(OPERATOR, uri).await.status, expected, "{uri}");
    }
    let erased = world.call(OPERATOR, "DELETE", "/v1/tenants/(unassigned)", Value::Null).await;
    assert_eq!(erased.json(), json!({"erased": "(unassigned)"}));
    assert_eq!(api_keys::list(&world.store).await.unwrap(), keys, "no key was made");
}

#[tokio::test]
async fn no_key_can_be_made_for_a_reserved_name() {
    let world = World::new();
    let id = TenantId::unassigned();
    tenants::register(&world.store, &id).await.unwrap();
    let keys = api_keys::list(&world.store).await.unwrap();
    // Below the routes as well, so that no other way to a key can forget the check.
    assert!(world.service.add_key(Grant::Tenant(id), "old", None).await.is_err());
    assert_eq!(api_keys::list(&world.store).await.unwrap(), keys);
}

#[tokio::test]
async fn only_operators_reach_tenants_and_keys() {
    let world = World::new();
    let before = world.store.state().await;
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
            ("GET", "/v1/keys"),
            ("POST", "/v1/keys"),
            ("POST", "/v1/keys/k0/rotate"),
            ("DELETE", "/v1/keys/k0"),
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
    assert_eq!(world.store.state().await, before);
}

#[tokio::test]
async fn every_change_is_in_the_audit_trail() {
    let world = World::new();
    let mut seconds = 0;
    let mut call = async |key, method, uri: &str, body| {
        // Entries of the same millisecond have no order.
        seconds += 1;
        world.clock.set(at(NOW).plus_millis(seconds * 1000));
        world.call(key, method, uri, body).await
    };
    call(OPERATOR, "POST", "/v1/tenants", json!({"id": "globex"})).await;
    call(OPERATOR, "PATCH", "/v1/tenants/globex", json!({"suspended": true})).await;
    let key = call(OPERATOR, "POST", "/v1/tenants/globex/keys", json!({"name": "k"})).await.json();
    let uri = format!("/v1/tenants/globex/keys/{}", key["id"].as_str().unwrap());
    call(OPERATOR, "DELETE", &uri, Value::Null).await;
    call(ACME, "PUT", "/v1/rules", json!({})).await;
    // A refused request is not a change.
    call(READER, "PUT", "/v1/rules", json!({})).await;
    call(OPERATOR, "DELETE", "/v1/tenants/globex", Value::Null).await;
    let trail = world.get(OPERATOR, "/v1/audit").await.json();
    let entries: Vec<(&str, &str, &str)> = trail["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| ["who", "action", "subject"].map(|part| entry[part].as_str().unwrap()).into())
        .collect();
    let (operator, acme) = ("operator key", "acme key");
    let expected = [
        (operator, "tenant.erase", "globex"),
        (acme, "rules.set", "acme"),
        (operator, "key.revoke", key["id"].as_str().unwrap()),
        (operator, "key.add", "globex"),
        (operator, "tenant.suspend", "globex"),
        (operator, "tenant.add", "globex"),
    ];
    assert_eq!(entries, expected);
}

#[tokio::test]
async fn nothing_is_changed_without_an_entry_in_the_audit_trail() {
    let world = World::in_condition(Condition::RefusingWrites(layout::AUDIT));
    let before = world.store.state().await;
    let (alert, key) = (&seed().alert, &seed().spare_key);
    for (method, uri, body) in [
        ("DELETE", "/v1/tenants/acme".to_owned(), Value::Null),
        ("POST", "/v1/tenants".to_owned(), json!({"id": "globex"})),
        ("PATCH", "/v1/tenants/acme".to_owned(), json!({"name": "A"})),
        ("POST", "/v1/keys".to_owned(), json!({"name": "k", "scope": "ingest"})),
        ("POST", "/v1/tenants/acme/keys".to_owned(), json!({"name": "k"})),
        ("POST", format!("/v1/tenants/acme/keys/{key}/rotate"), json!({})),
        ("DELETE", format!("/v1/tenants/acme/keys/{key}"), Value::Null),
        ("PUT", "/v1/rules".to_owned(), json!({})),
        ("PUT", "/v1/attribution".to_owned(), json!({})),
        ("PATCH", "/v1/attribution".to_owned(), json!({})),
        ("POST", format!("/v1/alerts/{alert}/acknowledge"), Value::Null),
    ] {
        let reply = world.call(OPERATOR, method, &uri, body).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{method} {uri}: {}", reply.text());
        assert_eq!(world.store.state().await, before, "{method} {uri}");
    }
}

#[tokio::test]
async fn erased_tenant_leaves_nothing_behind() {
    let world = World::new();
    assert_eq!(world.call(OPERATOR, "DELETE", "/v1/tenants/acme", Value::Null).await.status, StatusCode::OK);
    assert_eq!(world.get(ACME, "/v1/whoami").await.problem(), "invalid-credential");
    let campaigns = world.get(OPERATOR, "/v1/dimensions/campaign").await.json();
    assert_eq!(campaigns["values"], json!(["hooli-launch"]));
    let alerts = world.get(OPERATOR, "/v1/alerts").await;
    assert!(alerts.text().contains("hooli") && !alerts.text().contains("acme"), "{}", alerts.text());
    let left = world.store.items().await.into_iter().map(|item| item.key.to_string());
    let left: Vec<String> = left.filter(|key| key.contains("acme")).collect();
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test]
async fn reading_key_changes_nothing_and_key_of_a_suspended_tenant_is_refused() {
    let world = World::new();
    assert_eq!(world.get(READER, "/v1/rules").await.status, StatusCode::OK);
    assert_eq!(world.call(READER, "PUT", "/v1/rules", json!({})).await.problem(), "forbidden");
    let id = &format!("/v1/alerts/{}", seed().alert);
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
async fn every_described_call_exists_and_replies_with_a_described_status() {
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
