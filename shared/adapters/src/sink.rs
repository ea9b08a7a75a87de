//! Chooses the time-series sink of an installation from its environment: Timestream, InfluxDB or none.
//!
//! `SINK` is `none`, `timestream` (with `TIMESTREAM_DATABASE`, `TIMESTREAM_TABLE`) or `influxdb` (with `INFLUX_URL`, `INFLUX_API`,
//! `INFLUX_ORG`, `INFLUX_BUCKET`, `INFLUX_TOKEN`). Counting and the API never depend on the choice.

use std::str::FromStr;

use pipeline::ports::{Point, Sink, SinkError, Written};

#[cfg(feature = "aws")]
use crate::aws::timestream::Timestream;
use crate::environment::Environment;
use crate::influx::{Api, Influx, InfluxSettings};

/// Which sink to use, and how to reach it.
pub enum SinkSettings {
    /// Amazon Timestream for LiveAnalytics, which takes no new customers since June 2025.
    #[cfg(feature = "aws")]
    Timestream {
        /// The database of the table.
        database: String,
        /// The table in it.
        table: String,
        /// Whether the environment sets an endpoint for Timestream.
        has_configured_endpoint: bool,
    },
    /// InfluxDB 2 or 3, wherever it runs.
    Influx(InfluxSettings),
}

/// The values of `SINK`.
#[derive(Clone, Copy)]
enum SinkChoice {
    None,
    Timestream,
    InfluxDb,
}

impl FromStr for SinkChoice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "timestream" => Ok(Self::Timestream),
            "influxdb" => Ok(Self::InfluxDb),
            _ => Err("use none, timestream or influxdb"),
        }
    }
}

impl SinkSettings {
    /// Reads the choice; `None` if no sink is configured. Mistakes are collected in `environment`.
    pub fn read(environment: &mut Environment) -> Option<Self> {
        match environment.optional("SINK")? {
            SinkChoice::None => None,
            #[cfg(feature = "aws")]
            SinkChoice::Timestream => Some(Self::Timestream {
                database: environment.required("TIMESTREAM_DATABASE"),
                table: environment.required("TIMESTREAM_TABLE"),
                has_configured_endpoint: environment
                    .optional::<String>("AWS_ENDPOINT_URL_TIMESTREAM_WRITE")
                    .is_some(),
            }),
            #[cfg(not(feature = "aws"))]
            SinkChoice::Timestream => {
                environment
                    .mistake("SINK: this program was built without AWS support, so use influxdb or none");
                None
            }
            SinkChoice::InfluxDb => {
                let url = environment.required("INFLUX_URL");
                // An empty one is reported as missing already.
                if !url.is_empty() && !url.starts_with("http://") && !url.starts_with("https://") {
                    environment.mistake("INFLUX_URL: must begin with https:// or http://");
                }
                let api = environment.optional("INFLUX_API").unwrap_or(Api::V2);
                let org = match api {
                    Api::V2 => environment.required("INFLUX_ORG"),
                    // Version 3 has databases and no organisations.
                    Api::V3 => String::new(),
                };
                let (bucket, token) =
                    (environment.required("INFLUX_BUCKET"), environment.required("INFLUX_TOKEN"));
                Some(Self::Influx(InfluxSettings { url, api, org, bucket, token }))
            }
        }
    }
}

/// The sink that the environment chose, ready to be written to.
pub enum TimeSeriesSink {
    /// Amazon Timestream for LiveAnalytics.
    #[cfg(feature = "aws")]
    Timestream(Box<Timestream>),
    /// InfluxDB 2 or 3.
    Influx(Influx),
}

impl TimeSeriesSink {
    /// Opens the sink. Timestream uses the AWS configuration of this process.
    #[cfg_attr(
        not(feature = "aws"),
        expect(clippy::unused_async, reason = "it awaits with the feature `aws`")
    )]
    pub async fn open(settings: SinkSettings) -> Self {
        match settings {
            #[cfg(feature = "aws")]
            SinkSettings::Timestream { database, table, has_configured_endpoint } => {
                let config = crate::aws::config().await;
                Self::Timestream(Box::new(Timestream::new(&config, has_configured_endpoint, database, table)))
            }
            SinkSettings::Influx(settings) => Self::Influx(Influx::new(settings)),
        }
    }
}

impl Sink for TimeSeriesSink {
    fn name(&self) -> &'static str {
        match self {
            #[cfg(feature = "aws")]
            Self::Timestream(timestream) => timestream.name(),
            Self::Influx(influx) => influx.name(),
        }
    }

    async fn write(&self, points: &[Point]) -> Result<Written, SinkError> {
        match self {
            #[cfg(feature = "aws")]
            Self::Timestream(timestream) => timestream.write(points).await,
            Self::Influx(influx) => influx.write(points).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<SinkSettings>, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut environment = Environment::of(variables);
        let settings = SinkSettings::read(&mut environment);
        environment.finish(settings).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_exported_by_default() {
        assert!(matches!(read(&[]), Ok(None)));
        assert!(matches!(read(&[("SINK", "none"), ("INFLUX_URL", "ftp://")]), Ok(None)));
    }

    #[test]
    fn each_sink_has_its_own_variables() {
        let influx = [
            ("SINK", "influxdb"),
            ("INFLUX_URL", "https://i"),
            ("INFLUX_BUCKET", "b"),
            ("INFLUX_TOKEN", "t"),
        ];
        let v3 = [influx.as_slice(), &[("INFLUX_API", "v3")]].concat();
        let settings = read(&v3);
        assert!(matches!(&settings, Ok(Some(SinkSettings::Influx(settings))) if settings.api == Api::V3));
        assert!(read(&influx).err().unwrap().contains("INFLUX_ORG is missing"));
        let v2 = [influx.as_slice(), &[("INFLUX_ORG", "o")]].concat();
        assert!(matches!(read(&v2), Ok(Some(SinkSettings::Influx(settings))) if settings.org == "o"));
        let timestream =
            read(&[("SINK", "timestream"), ("TIMESTREAM_DATABASE", "d"), ("TIMESTREAM_TABLE", "t")]);
        assert_eq!(timestream.is_ok(), cfg!(feature = "aws"));
    }

    #[test]
    fn all_mistakes_are_reported_together() {
        let message =
            read(&[("SINK", "influxdb"), ("INFLUX_URL", "i:8086"), ("INFLUX_API", "v4")]).err().unwrap();
        for part in ["INFLUX_URL: must", "v2 or v3", "INFLUX_BUCKET is missing", "INFLUX_TOKEN is missing"] {
            assert!(message.contains(part), "{message}");
        }
        assert!(read(&[("SINK", "postgres")]).err().unwrap().contains("use none, timestream or influxdb"));
    }
}
