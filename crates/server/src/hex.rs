//! Hexadecimal, as digests and ids are shown.

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(if half < 10 { b'0' + half } else { b'a' + half - 10 });
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0f)]).collect()
}

/// Reads exactly `N` bytes as [`hex`] writes them.
#[must_use]
pub fn read<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    bytes?.try_into().ok()
}

#[test]
fn every_byte_has_two_digits() {
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(hex(&all), all.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    assert_eq!(read::<256>(&hex(&all)).as_ref().map(<[u8; 256]>::as_slice), Some(all.as_slice()));
    for bad in ["", "0", "0g", "0G", "000", "AB"] {
        assert_eq!(read::<1>(bad), None, "`{bad}`");
    }
}
