//! JSON string texts: unescaping what the scanner has checked, and quoting what we write ourselves.

use super::scan::plain_run;

/// Unescapes the inside of a string the scanner has accepted.
pub(super) fn unescape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('u') => {
                let high = hex4(&mut chars);
                let scalar = if (0xD800..0xDC00).contains(&high) {
                    chars.next();
                    chars.next();
                    let low = hex4(&mut chars);
                    0x1_0000 + ((high - 0xD800) << 10) + low.wrapping_sub(0xDC00)
                } else {
                    high
                };
                out.push(char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(c) => out.push(c),
            None => {}
        }
    }
    out
}

fn hex4(chars: &mut std::str::Chars<'_>) -> u32 {
    chars.by_ref().take(4).fold(0, |value, c| value * 16 + c.to_digit(16).unwrap_or(0))
}

/// `text` as a JSON string with its quotes.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    quote_into(&mut out, text);
    String::from_utf8(out).unwrap_or_default()
}

/// Appends `text` as a JSON string with its quotes.
pub fn quote_into(out: &mut Vec<u8>, text: &str) {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (run, _) = plain_run::<false>(rest);
        let (plain, behind) = rest.split_at_checked(run).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let [byte, behind @ ..] = behind else { break };
        match byte {
            b'"' | b'\\' => out.extend([b'\\', *byte]),
            b'\n' => out.extend(*b"\\n"),
            b'\r' => out.extend(*b"\\r"),
            b'\t' => out.extend(*b"\\t"),
            byte => {
                let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or(b'0');
                out.extend(*b"\\u00");
                out.extend([digit(byte >> 4), digit(byte & 15)]);
            }
        }
        rest = behind;
    }
    out.push(b'"');
}

/// Appends strict JSON with line breaks and two blanks for each level; no value is altered.
pub fn indent_into(out: &mut Vec<u8>, json: &[u8]) {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    let mut before = b' ';
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + 2 * depth, b' ');
    };
    for byte in json {
        if in_string {
            out.push(*byte);
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            before = *byte;
            continue;
        }
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if !matches!(before, b'{' | b'[') {
                    line(out, depth);
                }
                out.push(*byte);
            }
            _ => {
                if matches!(before, b'{' | b'[' | b',') {
                    line(out, depth);
                }
                out.push(*byte);
                match byte {
                    b'{' | b'[' => depth += 1,
                    b':' => out.push(b' '),
                    b'"' => in_string = true,
                    _ => {}
                }
            }
        }
        before = *byte;
    }
}

#[test]
fn indenting_alters_no_value() {
    let text = r#"{"a":[],"b":{},"c":[1.10,{"d":"x{[,:\"\\"},null],"e":"\u00e9"}"#;
    let mut out = Vec::new();
    indent_into(&mut out, text.as_bytes());
    let shown = String::from_utf8(out).unwrap();
    assert!(shown.starts_with("{\n  \"a\": [],\n  \"b\": {},\n  \"c\": [\n    1.10,\n    {\n      \"d\": "), "{shown}");
    let mut again = Vec::new();
    indent_into(&mut again, shown.as_bytes());
    assert_eq!(String::from_utf8(again).unwrap(), shown);
    let without: String = shown.lines().map(str::trim_start).collect();
    assert_eq!(without.replace("\": ", "\":"), text);
}
