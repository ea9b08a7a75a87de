//! Whose events are whose.

use super::*;
use crate::event::{EventKind, Tags};
use crate::units::Timestamp;

fn event<'a>(tags: &[(&'a str, &'a str)], source: &'a str, destinations: &[&'a str]) -> EmailEvent<'a> {
    EmailEvent {
        kind: EventKind::Send,
        at: Timestamp::from_millis(0),
        sent_at: Timestamp::from_millis(0),
        message_id: Cow::Borrowed("0100018e77d94dc5-1"),
        recipients: destinations.iter().map(|&address| Cow::Borrowed(address)).collect(),
        destinations: destinations.iter().map(|&address| Cow::Borrowed(address)).collect(),
        destination_count: u32::try_from(destinations.len()).unwrap(),
        source: Cow::Borrowed(source),
        sending_account: Some(Cow::Borrowed("123456789012")),
        source_arn: None,
        tags: tags
            .iter()
            .map(|&(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value)))
            .collect::<Tags<'_>>(),
    }
}

#[test]
fn without_any_sign_nobody_owns_an_event() {
    let event = event(&[], "a@example.com", &[]);
    let attribution = Attribution::default();
    let values = attribution.message(&event);
    assert_eq!((values.tenant.as_ref(), values.conflict), (TenantId::UNASSIGNED, false));
}
