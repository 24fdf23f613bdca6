//! Values of search parameters: the OR list, its escapes, and the grammar each kind of value has.

use super::{InvalidRequest, VALUES_MAX, quote};
use crate::Id;
use crate::params::{ParamKind, SearchParam};
use crate::references::{self, Reference};

/// Splits a decoded value at its commas and un-escapes each part. `\|` and `\$` are refused: un-escaped they could not
/// be told from the separators they are not (SR-16, SR-17).
pub(super) fn split_list(name: &str, value: &str) -> Result<Vec<String>, InvalidRequest> {
    let mut values = Vec::new();
    let mut current = String::new();
    let mut chars = value.chars();
    loop {
        match chars.next() {
            Some('\\') => match chars.next() {
                Some(escaped @ (',' | '\\')) => current.push(escaped),
                Some('|' | '$') => {
                    return Err(InvalidRequest::not_supported(format!("{}: the escape is not supported", quote(name))));
                }
                _ => return Err(InvalidRequest::malformed(format!("{}: a backslash escapes nothing", quote(name)))),
            },
            Some(c) if c != ',' => current.push(c),
            end => {
                if current.is_empty() || values.len() == VALUES_MAX {
                    return Err(InvalidRequest::malformed(format!("{}: an empty value or too many", quote(name))));
                }
                values.push(std::mem::take(&mut current));
                if end.is_none() {
                    return Ok(values);
                }
            }
        }
    }
}

/// Whether `value` fits the grammar of `param`. References get their meaning in `policy`; here only their form counts.
pub(super) fn fits(param: &SearchParam, value: &str) -> bool {
    match param.kind {
        ParamKind::Token => param.name != "_id" || Id::fits(value),
        ParamKind::Reference => fits_reference(param, value),
        ParamKind::Date => is_date(without_prefix(value)),
        ParamKind::Number => is_decimal(without_prefix(value)),
        ParamKind::Quantity => is_decimal(without_prefix(value.split('|').next().unwrap_or_default())),
        ParamKind::String | ParamKind::Composite | ParamKind::Uri | ParamKind::Special => true,
    }
}

fn fits_reference(param: &SearchParam, value: &str) -> bool {
    if Id::fits(value) {
        return true;
    }
    match references::parse(value) {
        Reference::Relative { .. } | Reference::Absolute { .. } => true,
        Reference::Fragment(_) => false,
        // A canonical URL, where nothing that could be a patient is looked for.
        Reference::Other(text) => !param.patient && text.contains("://"),
    }
}

fn without_prefix(value: &str) -> &str {
    match value.split_at_checked(2) {
        Some(("eq" | "ne" | "gt" | "lt" | "ge" | "le" | "sa" | "eb" | "ap", rest)) => rest,
        _ => value,
    }
}

/// `YYYY[-MM[-DD[Thh:mm[:ss[.fff]][zone]]]]`, by digits; the upstream judges the calendar.
pub(super) fn is_date(value: &str) -> bool {
    let (date, time) = value.split_once('T').map_or((value, None), |(date, time)| (date, Some(time)));
    let mut parts = date.split('-');
    let lengths = [4, 2, 2];
    let given = date.split('-').count();
    let date_fits = given <= 3
        && lengths.iter().take(given).all(|length| parts.next().is_some_and(|part| is_digits(part, *length)));
    date_fits && time.is_none_or(|time| given == 3 && is_time(time))
}

fn is_time(value: &str) -> bool {
    let (clock, zone) = match value.find(['Z', '+', '-']).and_then(|at| value.split_at_checked(at)) {
        Some((clock, zone)) => (clock, zone),
        None => (value, "Z"),
    };
    let zone_fits = zone == "Z"
        || zone
            .strip_prefix(['+', '-'])
            .and_then(|rest| rest.split_once(':'))
            .is_some_and(|(h, m)| is_digits(h, 2) && is_digits(m, 2));
    let (clock, fraction) = clock.split_once('.').map_or((clock, None), |(clock, fraction)| (clock, Some(fraction)));
    let parts: Vec<&str> = clock.split(':').collect();
    let fraction_fits =
        fraction.is_none_or(|f| parts.len() == 3 && (1..=9).contains(&f.len()) && is_digits(f, f.len()));
    zone_fits && fraction_fits && (2..=3).contains(&parts.len()) && parts.iter().all(|part| is_digits(part, 2))
}

fn is_digits(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_digit())
}

/// `-?digits[.digits][e[+-]digits]`.
fn is_decimal(value: &str) -> bool {
    let some_digits = |text: &str| (1..=30).contains(&text.len()) && is_digits(text, text.len());
    let (mantissa, exponent) = value.split_once(['e', 'E']).map_or((value, None), |(m, e)| (m, Some(e)));
    let mantissa = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
    some_digits(whole)
        && fraction.is_none_or(some_digits)
        && exponent.is_none_or(|e| some_digits(e.strip_prefix(['+', '-']).unwrap_or(e)))
}

#[test]
fn values_have_their_grammar() {
    for (text, valid) in [
        ("2020", true),
        ("2020-01", true),
        ("2020-01-31", true),
        ("2020-01-31T10:00", true),
        ("2020-01-31T10:00:00.123Z", true),
        ("2020-01-31T10:00:00+01:00", true),
        ("2020-01-31T10:00:00 01:00", false),
        ("2020-01T10:00", false),
        ("20-01", false),
        ("", false),
        ("2020-01-31T10", false),
        ("2020-01-31-01", false),
        ("now", false),
    ] {
        assert_eq!(is_date(text), valid, "`{text}`");
    }
    for (text, valid) in
        [("1", true), ("-1.50", true), ("1e-3", true), ("", false), ("1.", false), (".5", false), ("NaN", false)]
    {
        assert_eq!(is_decimal(text), valid, "`{text}`");
    }
    assert_eq!(without_prefix("ge2020"), "2020");
    assert_eq!(without_prefix("é2020"), "é2020");
}
