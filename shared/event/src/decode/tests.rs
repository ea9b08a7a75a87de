use super::*;

fn outcomes(payload: &[u8]) -> Vec<String> {
    let mut seen = Vec::new();
    Decoder::new().decode(payload, &mut |decoded| {
        seen.push(match decoded {
            Decoded::Event(event) => format!("{:?}", event.kind),
            Decoded::Ignored(ignored) => format!("{ignored:?}"),
            Decoded::Unreadable { reason, bytes } => format!("{reason}: {}", String::from_utf8_lossy(bytes)),
        });
    });
    seen
}

#[test]
fn a_raw_event_is_read() {
    let event = br#"{"eventType":"Send","mail":{"timestamp":"2025-11-13T02:15:23.456Z","messageId":"m1","destination":["a@example.com"]},"send":{}}"#;
    assert_eq!(outcomes(event), ["Send"]);
}
