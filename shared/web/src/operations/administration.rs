//! The operations for operators: tenants, keys, attribution, the overview and the audit trail.

use axum::http::{Method, StatusCode};
use event::attribution::TenantMaps;
use pipeline::directory::mappings::MappingsChange;
use pipeline::ports::{Clock, Store};
use schemars::JsonSchema;
use serde_json::json;

use super::{number, text, time};
use crate::openapi::{ApiBuilder, Callers, Operation, OperationGroup};
use crate::router::Shared;
use crate::routes::{attribution, audit, keys, overview, platform_keys, tenants};
use crate::service::{Intake, TenantDetails};

const TENANTS: OperationGroup = OperationGroup {
    name: "Tenants and keys",
    description: "Tenants, their API keys, which mail belongs to which tenant, and who changed what. For operators.",
};

/// Adds the operations of the group.
pub(super) fn add<S: Store, C: Clock, I: Intake>(
    api: ApiBuilder<Shared<S, C, I>>,
) -> ApiBuilder<Shared<S, C, I>> {
    overview::<S, C, I>(attribution::<S, C, I>(platform_keys::<S, C, I>(keys::<S, C, I>(
        tenants::<S, C, I>(api),
    ))))
}

fn operator<T: JsonSchema>(id: &'static str, summary: &'static str) -> Operation {
    Operation::json::<T>(TENANTS, id, summary).callers(Callers::Operators)
}

/// An operation on one tenant, which the path names.
fn on_tenant<T: JsonSchema>(id: &'static str, summary: &'static str) -> Operation {
    operator::<T>(id, summary).path_parameter("id", "The id of a tenant.").statuses(&[StatusCode::NOT_FOUND])
}

/// An operation on one key of a tenant, which the path names.
fn on_key<T: JsonSchema>(id: &'static str, summary: &'static str) -> Operation {
    on_tenant::<T>(id, summary).path_parameter("key", "The id of a key.").statuses(&[
        StatusCode::NOT_FOUND,
        StatusCode::CONFLICT,
        StatusCode::PAYLOAD_TOO_LARGE,
    ])
}

fn tenants<S: Store, C: Clock, I: Intake>(api: ApiBuilder<Shared<S, C, I>>) -> ApiBuilder<Shared<S, C, I>> {
    api.add(
        &Method::GET,
        "/v1/tenants",
        tenants::list::<S, C, I>,
        operator::<tenants::TenantPage>("listTenants", "List tenants, sorted by id")
            .query_parameter(
                "limit",
                "Maximum number of tenants to return.",
                &number(1..=tenants::MAX_LIMIT, Some(tenants::MAX_LIMIT)),
            )
            .query_parameter(
                "cursor",
                "`next_cursor` of the previous page. Defaults to the first page.",
                &text(),
            ),
    )
    .add(
        &Method::POST,
        "/v1/tenants",
        tenants::add::<S, C, I>,
        operator::<TenantDetails>("createTenant", "Create a tenant")
            .description(
                "A tenant is created by its first event anyway. Create it earlier to make keys for it.",
            )
            .body::<tenants::NewTenant>(json!({ "id": "acme", "name": "Acme" }))
            .statuses(&[StatusCode::CONFLICT]),
    )
    .add(
        &Method::GET,
        "/v1/tenants/{id}",
        tenants::get::<S, C, I>,
        on_tenant::<TenantDetails>("getTenant", "Get a tenant"),
    )
    .add(
        &Method::PATCH,
        "/v1/tenants/{id}",
        tenants::change::<S, C, I>,
        on_tenant::<TenantDetails>("updateTenant", "Rename, suspend or configure a tenant")
            .body::<tenants::TenantUpdate>(json!({ "suspended": false })),
    )
    .add(
        &Method::DELETE,
        "/v1/tenants/{id}",
        tenants::erase::<S, C, I>,
        on_tenant::<tenants::ErasedTenant>(
            "eraseTenant",
            "Erase a tenant with its numbers, rules, alerts and keys",
        )
        .description("Events that arrive later create the tenant again, without its settings.")
        .statuses(&[StatusCode::NOT_FOUND, StatusCode::PAYLOAD_TOO_LARGE]),
    )
}

fn keys<S: Store, C: Clock, I: Intake>(api: ApiBuilder<Shared<S, C, I>>) -> ApiBuilder<Shared<S, C, I>> {
    api.add(
        &Method::GET,
        "/v1/tenants/{id}/keys",
        keys::list::<S, C, I>,
        on_tenant::<keys::KeyList>("listKeys", "List the keys of a tenant, including expired and revoked ones"),
    )
    .add(
        &Method::POST,
        "/v1/tenants/{id}/keys",
        keys::add::<S, C, I>,
        on_tenant::<keys::KeyDetails>("createKey", "Create a key of a tenant")
            .description(
                "The reply is the only place where the key itself is shown. The tenant `(unassigned)` has no keys.",
            )
            .body::<keys::NewKey>(json!({ "name": "dashboard", "scopes": ["read"], "expires_in_days": 90 })),
    )
    .add(
        &Method::POST,
        "/v1/tenants/{id}/keys/{key}/rotate",
        keys::rotate::<S, C, I>,
        on_key::<keys::KeyDetails>("rotateKey", "Replace a key by a new one")
            .description(
                "Creates a key with the same name, scopes and lifetime. The old key expires after the overlap. The reply is the only \
                 place where the new key is shown.",
            )
            .body::<keys::KeyRotation>(json!({ "overlap_hours": 24 })),
    )
    .add(
        &Method::DELETE,
        "/v1/tenants/{id}/keys/{key}",
        keys::revoke::<S, C, I>,
        on_key::<keys::KeyDetails>("revokeKey", "Revoke a key at once"),
    )
}

fn platform_keys<S: Store, C: Clock, I: Intake>(
    api: ApiBuilder<Shared<S, C, I>>,
) -> ApiBuilder<Shared<S, C, I>> {
    let on_key = |id, summary| {
        operator::<keys::KeyDetails>(id, summary).path_parameter("key", "The id of a key.").statuses(&[
            StatusCode::NOT_FOUND,
            StatusCode::CONFLICT,
            StatusCode::PAYLOAD_TOO_LARGE,
        ])
    };
    api.add(
        &Method::GET,
        "/v1/keys",
        platform_keys::list::<S, C, I>,
        operator::<keys::KeyList>(
            "listPlatformKeys",
            "List the keys without a tenant, including expired and revoked ones",
        ),
    )
    .add(
        &Method::POST,
        "/v1/keys",
        platform_keys::add::<S, C, I>,
        operator::<keys::KeyDetails>("createPlatformKey", "Create a key without a tenant")
            .description("For operators or for sending events. The reply is the only place where the key itself is shown.")
            .body::<platform_keys::NewPlatformKey>(json!({ "name": "forwarder", "scope": "ingest" })),
    )
    .add(
        &Method::POST,
        "/v1/keys/{key}/rotate",
        platform_keys::rotate::<S, C, I>,
        on_key("rotatePlatformKey", "Replace a key without a tenant by a new one")
            .description(
                "Creates a key with the same name, scope and lifetime. The old key expires after the overlap. The reply is the only \
                 place where the new key is shown.",
            )
            .body::<keys::KeyRotation>(json!({ "overlap_hours": 24 })),
    )
    .add(
        &Method::DELETE,
        "/v1/keys/{key}",
        platform_keys::revoke::<S, C, I>,
        on_key("revokePlatformKey", "Revoke a key without a tenant at once").description(
            "The next request with the key is refused. The key of the request itself can be revoked too. Who has lost every operator \
             key makes one with `mailgauge keys add`.",
        ),
    )
}

fn attribution<S: Store, C: Clock, I: Intake>(
    api: ApiBuilder<Shared<S, C, I>>,
) -> ApiBuilder<Shared<S, C, I>> {
    let example = || json!({ "by_sending_domain": { "mail.acme.example": "acme" } });
    api.add(
        &Method::GET,
        "/v1/attribution",
        attribution::get::<S, C, I>,
        operator::<TenantMaps>("getAttribution", "Get the mappings of mail to tenants").description(
            "They apply to mail without a tenant tag. Mappings from the configuration of the deployment are not listed.",
        ),
    )
    .add(
        &Method::PUT,
        "/v1/attribution",
        attribution::put::<S, C, I>,
        operator::<TenantMaps>("setAttribution", "Replace all mappings of mail to tenants")
            .description("They apply within a minute, to events that arrive from then on.")
            .body::<TenantMaps>(example())
            .statuses(&[StatusCode::CONFLICT]),
    )
    .add(
        &Method::PATCH,
        "/v1/attribution",
        attribution::patch::<S, C, I>,
        operator::<TenantMaps>("updateAttribution", "Set or remove single mappings of mail to tenants")
            .description("They apply within a minute, to events that arrive from then on.")
            .body::<MappingsChange>(example())
            .statuses(&[StatusCode::CONFLICT]),
    )
}

fn overview<S: Store, C: Clock, I: Intake>(api: ApiBuilder<Shared<S, C, I>>) -> ApiBuilder<Shared<S, C, I>> {
    api.add(
        &Method::GET,
        "/v1/overview",
        overview::overview::<S, C, I>,
        operator::<overview::Overview>("getOverview", "Per-tenant health overview")
            .description(
                "The rates and open alerts of each tenant, and its share of the account's sends, hard bounces and complaints.",
            )
            .query_parameter(
                "from",
                "Start: an RFC 3339 time, a date, `now`, or a time before now such as `-24h`. Defaults to `-24h`.",
                &time("-24h"),
            )
            .query_parameter("to", "End (exclusive), in the same forms. Defaults to `now`.", &time("now")),
    )
    .add(
        &Method::GET,
        "/v1/audit",
        audit::list::<S, C, I>,
        operator::<audit::AuditTrail>("listAuditEntries", "List the audit trail, newest first")
            .description(
                "An entry is written before its change, so that no change is without one; the change may then have failed.",
            )
            .query_parameter(
                "from",
                "Start: an RFC 3339 time, a date, `now`, or a time before now such as `-7d`. Defaults to `-30d`.",
                &time("-30d"),
            )
            .query_parameter("to", "End (exclusive), in the same forms. Defaults to `now`.", &time("now"))
            .query_parameter(
                "limit",
                "Maximum number of entries to return.",
                &number(1..=audit::MAX_LIMIT, Some(audit::DEFAULT_LIMIT)),
            ),
    )
}
