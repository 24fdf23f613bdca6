//! Deep equality as RFC 6902 §4.6 has it for `test`.

use crate::json::{Kind, Value};

/// Whether two values are the same: strings after unescaping, numbers by value, members in any order.
pub(super) fn same(a: Value<'_>, b: Value<'_>) -> bool {
    match (a.kind(), b.kind()) {
        (Kind::Object, Kind::Object) => {
            // Names are unique, so as many members that are all found are the same members.
            a.members().count() == b.members().count()
                && a.members().all(|(key, value)| b.get(&key.text()).is_some_and(|other| same(value, other)))
        }
        (Kind::Array, Kind::Array) => {
            a.elements().count() == b.elements().count() && a.elements().zip(b.elements()).all(|(a, b)| same(a, b))
        }
        (Kind::Number, Kind::Number) => same_number(a.raw(), b.raw()),
        (Kind::Plain | Kind::Escaped, Kind::Plain | Kind::Escaped) => a.as_str() == b.as_str(),
        (a, b) => a == b,
    }
}

/// Exact, and without floating point, which would take different long decimals for one.
fn same_number(a: &str, b: &str) -> bool {
    match (Decimal::read(a), Decimal::read(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// `digits` times ten to the power of `exponent`, without zeros at either end of `digits`.
#[derive(Eq, PartialEq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// `None` if the exponent is beyond all use.
    fn read(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let short = digits.trim_end_matches('0');
        let zeros = i64::try_from(digits.len() - short.len()).ok()?;
        let exponent: i64 = exponent.parse().ok()?;
        let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(zeros)?;
        let digits = short.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self { negative: false, digits, exponent: 0 });
        }
        Some(Self { negative, digits, exponent })
    }
}

#[test]
fn patch_tests_compare_numbers_by_value() {
    for (a, b, equal) in [
        ("1.0", "1.00", true),
        ("1", "1.0", true),
        ("10", "1e1", true),
        ("1E+2", "100", true),
        ("0.05", "5e-2", true),
        ("-0", "0.0", true),
        ("0e99", "0", true),
        ("1", "-1", false),
        ("1.10", "1.01", false),
        ("100", "10", false),
        ("9007199254740993", "9007199254740992", false),
        ("1e99999999999999999999", "1e99999999999999999999", true),
        ("1e99999999999999999999", "1", false),
    ] {
        assert_eq!(same_number(a, b), equal, "{a} {b}");
    }
}
