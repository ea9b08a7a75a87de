//! The [`Sink`] that writes to Amazon Timestream for LiveAnalytics: each point becomes one multi-measure record. Its
//! dimensions are those of the point, which `pipeline::export::points` lists.
//!
//! Timestream clients must ask for an endpoint, which is valid for some minutes. The SDK renews it in a background task, which does
//! not run while a Lambda function is frozen. So it is requested here when it has expired and after a failed call. A configured endpoint
//! (private, or an emulator) is used unchanged.
//! Records that are refused permanently, such as those older than the retention period, are counted and do not block others.
//! Limits: <https://docs.aws.amazon.com/timestream/latest/developerguide/ts-limits.html>

use aws_config::SdkConfig;
use aws_sdk_timestreamwrite::Client;
use aws_sdk_timestreamwrite::config::Builder;
use aws_sdk_timestreamwrite::error::{BoxError, BuildError, SdkError};
use aws_sdk_timestreamwrite::operation::write_records::WriteRecordsError;
use aws_sdk_timestreamwrite::types::{Dimension, MeasureValue, MeasureValueType, Record, TimeUnit};
use event::Timestamp;
use futures::stream::{self, StreamExt as _};
use pipeline::ports::{Clock as _, Point, Sink, SinkError, Written};
use tokio::sync::Mutex;

use crate::system_clock::SystemClock;

const NAME: &str = "timestream";
/// Most records that `WriteRecords` accepts.
const RECORDS_PER_CALL: usize = 100;
/// Calls that run at the same time.
const CONCURRENT_CALLS: usize = 8;
/// Most bytes of all names and values of a record's dimensions together.
const MAX_DIMENSION_BYTES: usize = 2048;
/// The measure name of every record.
const MEASURE_NAME: &str = "events";

/// The table that points are written to, and the endpoint to write them to.
#[derive(Debug)]
pub struct Timestream {
    config: SdkConfig,
    /// Asks for the endpoint; also writes, if the endpoint is configured.
    client: Client,
    has_configured_endpoint: bool,
    discovered: Mutex<Option<DiscoveredEndpoint>>,
    database: String,
    table: String,
}

/// An endpoint that Timestream returned.
#[derive(Debug)]
struct DiscoveredEndpoint {
    client: Client,
    expires_at: Timestamp,
}

/// Timestream returned no endpoint.
#[derive(Debug, thiserror::Error)]
#[error(
    "DescribeEndpoints returns no endpoint: check that Timestream for LiveAnalytics is available in this region for this account"
)]
struct NoEndpoint;

impl Timestream {
    /// The table with this name. `has_configured_endpoint` says whether the environment sets an endpoint for Timestream.
    pub fn new(config: &SdkConfig, has_configured_endpoint: bool, database: String, table: String) -> Self {
        Self {
            client: Client::new(config),
            has_configured_endpoint: has_configured_endpoint || config.endpoint_url().is_some(),
            config: config.clone(),
            discovered: Mutex::new(None),
            database,
            table,
        }
    }

    /// A client for the current endpoint.
    async fn client(&self) -> Result<Client, BoxError> {
        if self.has_configured_endpoint {
            return Ok(self.client.clone());
        }
        // Held while asking, so that calls at the same time ask once.
        let mut discovered = self.discovered.lock().await;
        let now = SystemClock.now();
        if let Some(endpoint) = discovered.as_ref().filter(|endpoint| now < endpoint.expires_at) {
            return Ok(endpoint.client.clone());
        }
        let reply = self.client.describe_endpoints().send().await?;
        let endpoint = reply.endpoints.into_iter().next().ok_or(NoEndpoint)?;
        // Timestream returns the host alone.
        let address = format!("https://{}", endpoint.address);
        let client = Client::from_conf(Builder::from(&self.config).endpoint_url(address).build());
        let expires_at = now.plus_millis(endpoint.cache_period_in_minutes.saturating_mul(60_000));
        *discovered = Some(DiscoveredEndpoint { client: client.clone(), expires_at });
        Ok(client)
    }

    async fn write_some(&self, client: &Client, points: &[Point]) -> Result<Written, BoxError> {
        // What all records share is sent once per call.
        let common = Record::builder()
            .measure_name(MEASURE_NAME)
            .measure_value_type(MeasureValueType::Multi)
            .time_unit(TimeUnit::Nanoseconds);
        let records: Vec<Record> = points.iter().map(record).collect::<Result<_, _>>()?;
        let call = client.write_records().database_name(&self.database).table_name(&self.table);
        let sent = call.common_attributes(common.build()).set_records(Some(records)).send().await;
        match sent.map_err(SdkError::into_service_error) {
            Ok(_) => Ok(Written::default()),
            Err(WriteRecordsError::RejectedRecordsException(rejected)) => {
                // The other records of the call were stored, so this is a result and no failure.
                let rejected = rejected.rejected_records.unwrap_or_default();
                let reason = rejected.first().and_then(|first| first.reason.clone());
                Ok(Written { rejected: rejected.len() as u64, reason })
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn write_all(&self, points: &[Point]) -> Result<Written, BoxError> {
        let client = self.client().await?;
        let mut sum = Written::default();
        // In groups, so that a failed call ends the export soon instead of after all others.
        for points in points.chunks(CONCURRENT_CALLS * RECORDS_PER_CALL) {
            let mut calls = Vec::with_capacity(CONCURRENT_CALLS);
            for points in points.chunks(RECORDS_PER_CALL) {
                calls.push(self.write_some(&client, points));
            }
            for written in stream::iter(calls).buffered(CONCURRENT_CALLS).collect::<Vec<_>>().await {
                let written = written?;
                sum.rejected += written.rejected;
                sum.reason = sum.reason.or(written.reason);
            }
        }
        Ok(sum)
    }
}

impl Sink for Timestream {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn write(&self, points: &[Point]) -> Result<Written, SinkError> {
        match self.write_all(points).await {
            Ok(written) => Ok(written),
            Err(source) => {
                // The endpoint may have moved; ask again before the next call.
                *self.discovered.lock().await = None;
                Err(SinkError { sink: NAME, source })
            }
        }
    }
}

fn record(point: &Point) -> Result<Record, BuildError> {
    let mut record = Record::builder().time(point.time_ns.to_string());
    let mut room = MAX_DIMENSION_BYTES;
    let tenant = ("tenant", point.tenant.as_str());
    let dimensions = point.dimensions.iter().map(|(name, value)| (*name, value.as_str()));
    for (name, value) in [tenant].into_iter().chain(dimensions) {
        // Cut rather than refused: Timestream would reject the whole record. The tenant comes first, so it is never
        // cut by the others.
        let value = value.get(..value.floor_char_boundary(room.saturating_sub(name.len()))).unwrap_or(value);
        if !value.is_empty() {
            room -= name.len() + value.len();
            record = record.dimensions(Dimension::builder().name(name).value(value).build()?);
        }
    }
    for (name, count) in &point.counts {
        // BIGINT is signed.
        let count = i64::try_from(*count).unwrap_or(i64::MAX).to_string();
        let measure = MeasureValue::builder().name(*name).value(count).r#type(MeasureValueType::Bigint);
        record = record.measure_values(measure.build()?);
    }
    Ok(record.build())
}

#[cfg(test)]
mod tests;
