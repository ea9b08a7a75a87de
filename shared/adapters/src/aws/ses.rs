//! The event destinations of an SES configuration set, for `mailgauge doctor`.

use aws_sdk_sesv2::Client;
use aws_sdk_sesv2::types::EventType;

/// The event types that are counted. A destination that omits one makes rates wrong.
const COUNTED: [EventType; 10] = [
    EventType::Send,
    EventType::Reject,
    EventType::Bounce,
    EventType::Complaint,
    EventType::Delivery,
    EventType::Open,
    EventType::Click,
    EventType::RenderingFailure,
    EventType::DeliveryDelay,
    EventType::Subscription,
];

/// An enabled event destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventDestination {
    /// The name that SES lists it under.
    pub name: String,
    /// Whether it publishes to EventBridge.
    pub is_event_bridge: bool,
    /// The counted event types that it omits, in lower case.
    pub missing: Vec<String>,
}

/// The configuration set could not be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "the event destinations of configuration set {configuration_set} cannot be read: check its name, the region and the permissions"
)]
pub struct ReadDestinationsError {
    configuration_set: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The enabled event destinations of a configuration set.
///
/// # Errors
/// [`ReadDestinationsError`] if the call fails or there is no such configuration set.
pub async fn destinations(
    config: &aws_config::SdkConfig,
    configuration_set: &str,
) -> Result<Vec<EventDestination>, ReadDestinationsError> {
    let call = Client::new(config).get_configuration_set_event_destinations();
    let reply = call.configuration_set_name(configuration_set).send().await.map_err(|error| {
        ReadDestinationsError { configuration_set: configuration_set.to_owned(), source: error.into() }
    })?;
    // A destination that is switched off publishes nothing, so it is as good as absent.
    let enabled = reply.event_destinations.into_iter().flatten().filter(|destination| destination.enabled);
    let read = enabled.map(|destination| EventDestination {
        is_event_bridge: destination.event_bridge_destination.is_some(),
        missing: missing(&destination.matching_event_types),
        name: destination.name,
    });
    Ok(read.collect())
}

fn missing(matching: &[EventType]) -> Vec<String> {
    let missing = COUNTED.iter().filter(|counted| !matching.contains(counted));
    missing.map(|counted| counted.as_str().to_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn omitted_event_types_are_named_and_others_than_counted_ones_are_not_asked_for() {
        assert_eq!(missing(&COUNTED), [""; 0]);
        assert_eq!(missing(&[]).len(), COUNTED.len());
        let without_opens: Vec<EventType> = COUNTED
            .into_iter()
            .filter(|counted| *counted != EventType::Open)
            .chain([EventType::from("NEW")])
            .collect();
        assert_eq!(missing(&without_opens), ["open"]);
    }
}
