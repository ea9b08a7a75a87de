//! Shared by the targets: counts the events of a payload into blocks.
//!
//! It decodes, attributes and counts like the aggregate step, but without store and deduplication, because the targets do not check how
//! events are counted.

use cells::{Accumulator, Block};
use event::attribution::Attribution;
use event::{Decoded, Decoder, EmailEvent, HashKey, TenantId};

/// The tenants' blocks of all events in `payload`.
pub fn blocks(payload: &[u8]) -> Vec<(TenantId, Block)> {
    let attribution = Attribution::default();
    let mut accumulator = Accumulator::full();
    Decoder::new().decode(payload, &mut |outcome| {
        if let Decoded::Event(event) = outcome {
            count(&attribution, &mut accumulator, event);
        }
    });
    accumulator.into_blocks()
}

fn count(attribution: &Attribution, accumulator: &mut Accumulator, event: &EmailEvent<'_>) {
    let message = attribution.attribute(event);
    let mut add = |recipient, address: &str| {
        let hash = event.recipient_hash(&HashKey::new([0; 16]), address);
        accumulator.count(&message.tenant, &message.values, &recipient, event, hash);
    };
    if event.recipients.is_empty() {
        add(attribution.recipients().interaction_dimensions(event), "");
    }
    for address in &event.recipients {
        add(attribution.recipients().dimensions(address), address);
    }
}
