//! Amazon Timestream for LiveAnalytics: each point a record of many measures.
//!
//! Timestream wants to be asked for its endpoint, which is good for some minutes. The client library's own way renews it by a task in
//! the background, which stands still while a function is frozen; here it is asked for again when its time is over, and after
//! a failed call. A given endpoint (a private one, an emulator) is used as it is.
//! What is refused for good, such as records older than the stores keep, is counted and does not hold up the rest.
//! Limits: <https://docs.aws.amazon.com/timestream/latest/developerguide/ts-limits.html>

use aws_config::SdkConfig;
use aws_sdk_timestreamwrite::Client;
use aws_sdk_timestreamwrite::config::Builder;
use aws_sdk_timestreamwrite::error::{BoxError, BuildError, SdkError};
use aws_sdk_timestreamwrite::operation::write_records::WriteRecordsError;
use aws_sdk_timestreamwrite::types::{Dimension, MeasureValue, MeasureValueType, Record, TimeUnit};
use event::Timestamp;
use pipeline::ports::{Clock as _, Point, Sink, SinkError, Written};
use tokio::sync::Mutex;

use crate::system_clock::SystemClock;

const NAME: &str = "timestream";
/// Records of one call.
const RECORDS_PER_CALL: usize = 100;
/// Calls under way together.
const CALLS: usize = 8;
/// Names and values of a record's dimensions have at most so many bytes together.
const MAX_DIMENSION_BYTES: usize = 2048;
/// What the measures of a record are called together.
const MEASURE_NAME: &str = "events";

/// A table of Timestream.
#[derive(Debug)]
pub struct Timestream {
    config: SdkConfig,
    /// What is asked for the endpoint, or for everything if there is a given one.
    client: Client,
    has_given_endpoint: bool,
    found: Mutex<Option<Found>>,
    database: String,
    table: String,
}

/// An endpoint that Timestream named.
#[derive(Debug)]
struct Found {
    client: Client,
    until: Timestamp,
}

/// Timestream named no endpoint.
#[derive(Debug, thiserror::Error)]
#[error(
    "DescribeEndpoints names no endpoint: is Timestream for LiveAnalytics there in this region, for this account?"
)]
struct NoEndpoint;

impl Timestream {
    /// The table of that name; `has_given_endpoint` says that the environment names the endpoint of Timestream.
    pub fn new(config: &SdkConfig, has_given_endpoint: bool, database: String, table: String) -> Self {
        Self {
            client: Client::new(config),
            has_given_endpoint: has_given_endpoint || config.endpoint_url().is_some(),
            config: config.clone(),
            found: Mutex::new(None),
            database,
            table,
        }
    }

    /// A client of the endpoint to use now.
    async fn client(&self) -> Result<Client, BoxError> {
        if self.has_given_endpoint {
            return Ok(self.client.clone());
        }
        let mut found = self.found.lock().await;
        let now = SystemClock.now();
        if let Some(found) = found.as_ref().filter(|found| now < found.until) {
            return Ok(found.client.clone());
        }
        let reply = self.client.describe_endpoints().send().await?;
        let endpoint = reply.endpoints.into_iter().next().ok_or(NoEndpoint)?;
        let address = format!("https://{}", endpoint.address);
        let client = Client::from_conf(Builder::from(&self.config).endpoint_url(address).build());
        let until = now.plus_millis(endpoint.cache_period_in_minutes.saturating_mul(60_000));
        *found = Some(Found { client: client.clone(), until });
        Ok(client)
    }

    async fn write_some(&self, client: &Client, points: &[Point]) -> Result<Written, BoxError> {
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
        for points in points.chunks(CALLS * RECORDS_PER_CALL) {
            let mut calls = Vec::with_capacity(CALLS);
            for points in points.chunks(RECORDS_PER_CALL) {
                calls.push(self.write_some(&client, points));
            }
            for written in pipeline::parallel::all(calls).await {
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
                *self.found.lock().await = None;
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
        let value = value.get(..value.floor_char_boundary(room.saturating_sub(name.len()))).unwrap_or(value);
        if !value.is_empty() {
            room -= name.len() + value.len();
            record = record.dimensions(Dimension::builder().name(name).value(value).build()?);
        }
    }
    for (name, count) in &point.counts {
        // Timestream's integers have a sign.
        let count = i64::try_from(*count).unwrap_or(i64::MAX).to_string();
        let measure = MeasureValue::builder().name(*name).value(count).r#type(MeasureValueType::Bigint);
        record = record.measure_values(measure.build()?);
    }
    Ok(record.build())
}

#[cfg(test)]
mod tests;
