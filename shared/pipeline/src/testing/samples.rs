//! Stored records of each format, kept as hexadecimal text in `samples/NAME-FORMAT.hex`.
//!
//! A sample that cannot be read any more, or is written differently, is a change of a stored format: give the record a new format number
//! and add a sample of it. Never edit a sample.

use std::fmt::{Debug, Write as _};
use std::path::Path;

use crate::codec::StoredRecord;

/// Checks that the sample `name` is read as `expected`, and that `expected` is written as the sample.
#[expect(clippy::disallowed_methods, reason = "the samples are files")]
pub(crate) fn check<R: StoredRecord + Debug + PartialEq>(name: &str, expected: &R) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testing/samples").join(format!("{name}.hex"));
    let written = expected.encode().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let stored = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; this program writes {written}", path.display()));
    let bytes = bytes_of(&stored);
    assert_eq!(R::decode(&bytes).as_ref(), Ok(expected), "{name}");
    assert_eq!(stored.trim(), written, "{name} is written differently");
    // Large samples would take the square of their size.
    if bytes.len() < 2_000 {
        crate::codec::assert_damage_is_noticed::<R>(&bytes);
    }
    // What any program before the first release wrote is refused, with what to do.
    let mut older = bytes;
    older[0] = 2;
    let refused = R::decode(&older).unwrap_err().to_string();
    assert!(refused.contains("is older than this program reads"), "{refused}");
}

/// Checks that the sample `name` of an older format is read as `expected`.
#[expect(clippy::disallowed_methods, reason = "the samples are files")]
pub(crate) fn check_older<R: StoredRecord + Debug + PartialEq>(name: &str, expected: &R) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testing/samples").join(format!("{name}.hex"));
    let stored = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let bytes = bytes_of(&stored);
    assert!(bytes[0] < R::FORMAT, "{name} is of this format");
    assert_eq!(R::decode(&bytes).as_ref(), Ok(expected), "{name}");
    crate::codec::assert_damage_is_noticed::<R>(&bytes);
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}
