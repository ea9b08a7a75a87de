//! `GET /v1/links`: clicks by link, with those of machines counted separately.
//!
//! Costs what a query of clicks costs, so it has the same limits. JSON rows have the form of a query's rows.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use cells::csv::CsvWriter;
use cells::query::{LinkTotal, QueryTime, RuleVersions, Scope};
use event::Minute;
use pipeline::history::answering::LinkQuery;
use pipeline::ports::{Clock, Store};
use schemars::JsonSchema;
use serde::Serialize;

use super::parameters::{QueryParameters, invalid};
use super::reply_format::ReplyFormat;
use crate::auth::Reader;
use crate::limits::QUERY_TIME;
use crate::problem::Problem;
use crate::router::Shared;
use crate::service::{During as _, Intake};

/// Rows listed unless a request says otherwise: all of one campaign.
pub(crate) const DEFAULT_ROWS: usize = 1000;
/// The most rows of a reply, as of a query.
pub(crate) const MAX_ROWS: usize = 10_000;
/// No campaign has a longer name.
const MAX_CAMPAIGN_BYTES: usize = 256;

/// Clicks by link.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LinkReport {
    /// Those with the most clicks first, `(other)` last.
    rows: Vec<LinkReportRow>,
    /// What the rows cover.
    meta: LinkReportMeta,
}

/// The clicks of one link of a campaign.
#[derive(Serialize, JsonSchema)]
struct LinkReportRow {
    /// The campaign and the link, with the tenant in replies about all tenants.
    group: LinkGroup,
    /// Its clicks.
    metrics: LinkMetrics,
}

/// A link of a campaign.
#[derive(Serialize, JsonSchema)]
struct LinkGroup {
    /// The tenant whose mail had the link. Only in replies about all tenants.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    /// The campaign of the mail.
    campaign: String,
    /// The tags of the link, its host and path, or a hash of either, depending on what the operator allows to be stored. `(other)` is all
    /// links of the campaign except the 200 most clicked ones, `(none)` is clicks whose event names no link, `(invalid)` is links that lead
    /// to no website.
    link: String,
}

/// The clicks of a link.
#[derive(Serialize, JsonSchema)]
struct LinkMetrics {
    /// All clicks.
    clicks: u64,
    /// The clicks made by machines. The rest were made by people.
    clicks_bot: u64,
}

/// What the rows cover.
#[derive(Serialize, JsonSchema)]
struct LinkReportMeta {
    /// Every event that arrived before this time is counted. Null before the first event.
    #[schemars(extend("format" = "date-time"))]
    complete_until: Option<String>,
    /// The time of the newest event that is counted. Null before the first event.
    #[schemars(extend("format" = "date-time"))]
    newest_event: Option<String>,
    /// Duplicates of events that arrived later than this are recognised; of older ones they may be counted again. Null if no counted
    /// event was forgotten.
    #[schemars(extend("format" = "date-time"))]
    deduplicated_since: Option<String>,
    /// Start of the range.
    #[schemars(extend("format" = "date-time"))]
    from: String,
    /// End of the range (exclusive).
    #[schemars(extend("format" = "date-time"))]
    to: String,
    /// The number of rows without `limit`.
    total: usize,
    /// The versions of the rules by which events are classified when they are counted. What was counted under earlier rules stays as
    /// it was.
    rules: RuleVersions,
}

/// Lists clicks by link of a `campaign`, or of all, in the format that `Accept` asks for.
pub(crate) async fn links<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    reader: Reader,
    headers: HeaderMap,
    mut parameters: QueryParameters,
) -> Result<Response, Problem> {
    let now = web.service.now();
    let campaign = parameters.take("campaign")?;
    if campaign.as_ref().is_some_and(|campaign| campaign.len() > MAX_CAMPAIGN_BYTES) {
        return Err(invalid("campaign", "is too long")
            .allowed(format!("at most {MAX_CAMPAIGN_BYTES} bytes"))
            .example("spring"));
    }
    let from = parameters.take_time("from", now)?.map_or(QueryTime::hours_ago(24), QueryTime::from);
    let to = parameters.take_time("to", now)?.map_or(QueryTime::Now, QueryTime::from);
    let limit = parameters.take_number("limit", 1..=MAX_ROWS)?.unwrap_or(DEFAULT_ROWS);
    parameters.finish("campaign, from, to, limit")?;
    let shows_tenants = reader.scope == Scope::All;
    let query = LinkQuery::new(reader.scope.clone(), campaign, from, to, now)?;
    let late = format!("no answer in {} s; ask for one campaign or a shorter range", QUERY_TIME.as_secs());
    let (from_minute, to_minute) = query.range();
    let service = Arc::clone(&web.service);
    let answer = async move { service.links(&query).await.during("clicks by link") };
    let answer = web.within_time(&reader, answer, late).await?;
    let (from, to) = (from_minute, to_minute);
    let text = |minute: Minute| minute.start().to_string();
    let meta = LinkReportMeta {
        complete_until: answer.freshness.complete_until.map(|at| at.to_string()),
        newest_event: answer.freshness.newest_event.map(|at| at.to_string()),
        deduplicated_since: answer.freshness.deduplicated_since.map(|at| at.to_string()),
        from: text(from),
        to: text(to),
        total: answer.rows.len(),
        rules: RuleVersions::CURRENT,
    };
    let rows = answer.rows.into_iter().take(limit).map(|total| row(total, shows_tenants)).collect();
    let report = LinkReport { rows, meta };
    Ok(reply(ReplyFormat::accepted_by(&headers), &report, shows_tenants).during("writing the answer")?)
}

fn row(total: LinkTotal, shows_tenant: bool) -> LinkReportRow {
    let LinkTotal { tenant, campaign, link, clicks, clicks_bot } = total;
    let tenant = shows_tenant.then(|| tenant.into());
    LinkReportRow {
        group: LinkGroup { tenant, campaign: campaign.into(), link: link.into() },
        metrics: LinkMetrics { clicks, clicks_bot },
    }
}

fn reply(format: ReplyFormat, report: &LinkReport, shows_tenants: bool) -> Result<Response, std::io::Error> {
    let mut text = Vec::new();
    match format {
        ReplyFormat::Json => serde_json::to_writer(&mut text, report)?,
        ReplyFormat::Csv => {
            let mut csv = CsvWriter::new(&mut text);
            let tenant = shows_tenants.then_some("tenant");
            for name in tenant.into_iter().chain(["campaign", "link", "clicks", "clicks_bot"]) {
                csv.text(name);
            }
            csv.end_row()?;
            for LinkReportRow { group, metrics } in &report.rows {
                for name in group.tenant.iter().chain([&group.campaign, &group.link]) {
                    csv.text(name);
                }
                csv.number(&metrics.clicks)?;
                csv.number(&metrics.clicks_bot)?;
                csv.end_row()?;
            }
            csv.finish()?;
        }
        ReplyFormat::JsonLines => {
            for row in &report.rows {
                serde_json::to_writer(&mut text, row)?;
                text.push(b'\n');
            }
        }
    }
    Ok(format.response(text, None, report.meta.complete_until.as_deref()))
}
