//! Units of measure as a closed set: the grammar of UCUM over a list of its atoms. A unit is text like any other, and an
//! annotation (`{…}`) may be any text, so that only what is listed here leaves.

use std::collections::HashSet;
use std::sync::LazyLock;

/// What each word of the list is, and the word.
static LISTED: LazyLock<HashSet<(&'static str, &'static str)>> = LazyLock::new(|| {
    let rows = include_str!("../tables/units.tsv").lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|row| row.split_once('\t')).collect()
});

/// UCUM's metric prefixes; the longer one first.
const PREFIXES: [&str; 20] =
    ["da", "Y", "Z", "E", "P", "T", "G", "M", "k", "h", "d", "c", "m", "u", "n", "p", "f", "a", "z", "y"];

/// Longest unit looked at: the longest common one has 20 characters.
const LENGTH_MAX: usize = 40;

/// Whether `text` is a unit that says nothing but itself.
#[must_use]
pub fn is_code(text: &str) -> bool {
    text.len() <= LENGTH_MAX && text.is_ascii() && !text.is_empty() && term(text, 0)
}

/// The same, or a word in common use.
#[must_use]
pub fn is_unit(text: &str) -> bool {
    text.len() <= LENGTH_MAX && (LISTED.contains(&("word", text.to_ascii_lowercase().as_str())) || is_code(text))
}

/// How many years one of this unit is, if it measures time and nothing else.
#[must_use]
pub fn years(text: &str) -> Option<f64> {
    const DAY: f64 = 1.0 / 365.25;
    let word = text.to_ascii_lowercase();
    // Short ones are UCUM, where letters of another case are another unit.
    Some(match if text.len() > 2 { word.as_str() } else { text } {
        "a" | "a_j" | "a_t" | "a_g" | "year" | "years" | "yr" | "yrs" | "Yr" | "YR" => 1.0,
        "mo" | "mo_j" | "mo_s" | "mo_g" | "month" | "months" | "mos" => 1.0 / 12.0,
        "wk" | "week" | "weeks" | "wks" => 7.0 * DAY,
        "d" | "day" | "days" => DAY,
        "h" | "hour" | "hours" | "hr" | "hrs" => DAY / 24.0,
        "min" | "minute" | "minutes" | "mins" => DAY / 1_440.0,
        "s" | "second" | "seconds" | "sec" | "secs" => DAY / 86_400.0,
        _ => return None,
    })
}

/// Whether it measures time in a way [`years`] does not read, like `10.a` or `a1`.
#[must_use]
pub fn hides_time(text: &str) -> bool {
    let mut parts = text.split('/');
    let above = parts.next().unwrap_or("");
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let words = above.split(|c: char| !c.is_ascii_alphabetic() && c != '_');
    years(text).is_none() && parts.all(is_number) && words.into_iter().any(|word| years(word).is_some())
}

/// `a/b.c`, with one level of brackets.
fn term(text: &str, depth: u8) -> bool {
    let text = text.strip_prefix('/').unwrap_or(text);
    let mut start = 0;
    let mut closes = None;
    for (at, byte) in text.bytes().enumerate() {
        match (byte, closes) {
            (b'(', None) => closes = Some(b')'),
            (b'[', None) => closes = Some(b']'),
            (b'{', None) => closes = Some(b'}'),
            (byte, Some(end)) if byte == end => closes = None,
            (b'.' | b'/', None) => {
                if !component(text.get(start..at).unwrap_or(""), depth) {
                    return false;
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    closes.is_none() && component(text.get(start..).unwrap_or(""), depth)
}

fn component(text: &str, depth: u8) -> bool {
    let (simple, annotated) = match text.split_once('{') {
        Some((simple, annotation)) => match annotation.strip_suffix('}') {
            Some(inner) if LISTED.contains(&("annotation", inner)) => (simple, true),
            _ => return false,
        },
        None => (text, false),
    };
    if simple.is_empty() {
        return annotated;
    }
    if let Some(inner) = simple.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        return depth == 0 && term(inner, 1);
    }
    // A factor; three digits are enough for `/100` and say nothing.
    if simple.bytes().all(|byte| byte.is_ascii_digit()) {
        return simple.len() <= 3;
    }
    if atom(simple) {
        return true;
    }
    // An exponent of one digit, or two behind a sign.
    let bare = simple.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = simple.len() - bare.len();
    let bare = bare.strip_suffix(['+', '-']).unwrap_or(bare);
    (1..=2).contains(&digits) && atom(bare)
}

fn atom(text: &str) -> bool {
    let metric = |text: &str| LISTED.contains(&("metric", text));
    LISTED.contains(&("plain", text))
        || metric(text)
        || PREFIXES.iter().any(|prefix| text.strip_prefix(prefix).is_some_and(metric))
}

#[test]
fn units_are_a_closed_set() {
    for text in [
        "mg",
        "kg/m2",
        "mm[Hg]",
        "/min",
        "{score}",
        "10*3/uL",
        "fL",
        "pg",
        "%",
        "U/L",
        "mL/min/{1.73_m2}",
        "mmol/L",
        "cm",
        "Cel",
        "[degF]",
        "a",
        "mo",
        "mg/kg/d",
        "[IU]/L",
        "ng/mL{FEU}",
        "10*9/L",
        "{RBC}/uL",
        "m/s2",
        "mL/(min.kg)",
        "g.m-2",
        "1",
        "/100{WBCs}",
    ] {
        assert!(is_code(text), "`{text}`");
    }
    for text in
        ["", "{John Smith}", "mg{Smith}", "Smith", "555-12-3456", "12345", "mg/Smith", "[Smith]", "((mg))", "m123", "é"]
    {
        assert!(!is_code(text), "`{text}`");
    }
    assert!(is_unit("mmHg") && is_unit("Years") && !is_unit("Smith"));
    assert_eq!((years("a"), years("Years"), years("A"), years("mg")), (Some(1.0), Some(1.0), None, None));
    for (text, hides) in
        [("10.a", true), ("a1", true), ("a/1", true), ("a", false), ("/a", false), ("ng.h/mL", false), ("mg", false)]
    {
        assert_eq!(hides_time(text), hides, "`{text}`");
    }
}
