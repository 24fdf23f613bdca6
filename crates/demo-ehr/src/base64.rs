//! Base64 with padding (RFC 4648 §4): what stands in `Binary.data` and `Attachment.data`.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes as text.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4usize {
            let letter = usize::try_from(word >> (18 - 6 * place) & 63).unwrap_or(0);
            let padded = place > chunk.len();
            out.push(if padded { '=' } else { char::from(LETTERS.get(letter).copied().unwrap_or(b'=')) });
        }
    }
    out
}

/// Text as bytes; white space is passed over, none when anything else is wrong.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let letters: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if !letters.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(letters.len() / 4 * 3);
    let groups = letters.len() / 4;
    for (index, group) in letters.chunks(4).enumerate() {
        let padding = group.iter().rev().take_while(|letter| **letter == b'=').count();
        if padding > 2 || (padding > 0 && index + 1 < groups) {
            return None;
        }
        let mut word = 0u32;
        for letter in group.iter().take(4 - padding) {
            word = word << 6 | value(*letter)?;
        }
        word <<= 6 * u32::try_from(padding).unwrap_or(0);
        let [_, first, second, third] = word.to_be_bytes();
        out.extend([first, second, third].iter().take(3 - padding));
    }
    Some(out)
}

fn value(letter: u8) -> Option<u32> {
    let (from, start) = match letter {
        b'A'..=b'Z' => (b'A', 0),
        b'a'..=b'z' => (b'a', 26),
        b'0'..=b'9' => (b'0', 52),
        b'+' => return Some(62),
        b'/' => return Some(63),
        _ => return None,
    };
    Some(u32::from(letter - from) + start)
}

#[test]
fn base64_is_standard_both_ways() {
    for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
        assert_eq!(encode(plain.as_bytes()), coded);
        assert_eq!(decode(coded).as_deref(), Some(plain.as_bytes()));
    }
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(decode(&encode(&all)), Some(all));
    assert_eq!(decode("Zm9v\r\nYmFy").as_deref(), Some(b"foobar".as_slice()));
    for bad in ["Zg", "Z===", "Zg==Zg==", "Z-8=", "Zm9v=", "===="] {
        assert_eq!(decode(bad), None, "`{bad}`");
    }
}
