//! Hexadecimal, as digests and ids are shown.

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(if half < 10 { b'0' + half } else { b'a' + half - 10 });
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0f)]).collect()
}

#[test]
fn every_byte_has_two_digits() {
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(hex(&all), all.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
}
