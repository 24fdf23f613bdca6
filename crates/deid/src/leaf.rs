//! Single values: what of a date, a postal code, a number or a quantity may leave, and how it is written.

use fhir::elements::Primitive;
use fhir::json::{Kind, Value};

use crate::known;
use crate::ucum;

/// The oldest age that is told. All above it are one: 90 or older (45 CFR 164.514(b)(2)(i)(C)).
pub(crate) const AGE_MAX: i32 = 89;
/// What stands for all of them.
pub(crate) const AGE_TOP: i32 = AGE_MAX + 1;

/// Longest number kept: nothing is measured with more digits, and a longer one can carry anything.
const NUMBER_MAX: usize = 18;

/// Whether the JSON value has the form its datatype asks for; of strings, those that are dates, times or ids.
pub(crate) fn fits(primitive: Primitive, value: Value<'_>) -> bool {
    match primitive {
        Primitive::Boolean => matches!(value.kind(), Kind::True | Kind::False),
        Primitive::Decimal => value.kind() == Kind::Number && value.raw().len() <= NUMBER_MAX,
        Primitive::Integer | Primitive::PositiveInt | Primitive::UnsignedInt => {
            let (raw, whole) = (value.raw(), value.kind() == Kind::Number);
            let digits = raw.strip_prefix('-').filter(|_| primitive == Primitive::Integer).unwrap_or(raw);
            let zero = primitive == Primitive::PositiveInt && digits == "0";
            whole && digits.len() <= 10 && digits.bytes().all(|b| b.is_ascii_digit()) && !zero
        }
        Primitive::Date | Primitive::DateTime | Primitive::Moment => {
            value.as_str().is_some_and(|text| year(&text).is_some())
        }
        Primitive::Time => value.as_str().is_some_and(|text| is_time(&format!("{text}Z"))),
        Primitive::Id => value.as_str().is_some_and(|text| fhir::Id::fits(&text)),
        _ => value.is_string(),
    }
}

/// The year of a `date` or `dateTime`, if its text follows the grammar of R4 to the end.
pub(crate) fn year(text: &str) -> Option<i32> {
    let (date, time) = text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
    let mut parts = date.split('-');
    let year = number(parts.next()?, 4, 1..=9999)?;
    let month = parts.next().map(|text| number(text, 2, 1..=12));
    let day = parts.next().map(|text| number(text, 2, 1..=31));
    let fits = month != Some(None) && day != Some(None) && parts.next().is_none();
    let timed = time.is_none_or(|time| day.is_some() && is_time(time));
    (fits && timed).then_some(year)
}

/// `hh:mm:ss`, a fraction, and the zone, which R4 asks for.
fn is_time(text: &str) -> bool {
    let (clock, zone) = match text.strip_suffix('Z') {
        Some(clock) => (clock, None),
        None => match text.rfind(['+', '-']).and_then(|at| text.split_at_checked(at)) {
            Some((clock, zone)) => (clock, zone.get(1..)),
            None => return false,
        },
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let pair = |text: &str, most: i32| {
        text.split_once(':').is_some_and(|(a, b)| number(a, 2, 0..=most).is_some() && number(b, 2, 0..=59).is_some())
    };
    let Some((minutes, seconds)) = clock.rsplit_once(':') else { return false };
    pair(minutes, 23)
        && number(seconds, 2, 0..=60).is_some()
        && !fraction.is_empty()
        && fraction.bytes().all(|b| b.is_ascii_digit())
        && zone.is_none_or(|zone| pair(zone, 14))
}

fn number(text: &str, digits: usize, within: std::ops::RangeInclusive<i32>) -> Option<i32> {
    let whole = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|number| whole && within.contains(number))
}

/// The first three digits of a US postal code; `000` where few people live. Nothing for what is not one.
pub(crate) fn zip3<'t>(text: &'t str, is_small: &dyn Fn(&str) -> bool) -> Option<&'t str> {
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    let (zip, more) = text.split_at_checked(5)?;
    let more = more.strip_prefix('-').unwrap_or(more);
    let area = zip.get(..3)?;
    (digits(zip, 5) && (more.is_empty() || digits(more, 4))).then_some(if is_small(area) { "000" } else { area })
}

/// What a quantity measures, as far as it matters here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Measure {
    /// Something with a unit that is known, or without one.
    Known,
    /// A time above [`AGE_MAX`] years.
    Over,
    /// Something with a unit that is not known: a bare number would mislead.
    Unknown,
}

/// Looks at a Quantity, Age or the like. `coded` is whether its `code` is known.
pub(crate) fn measure(quantity: Value<'_>, coded: bool, is_age: bool) -> Measure {
    let text = |name| quantity.get(name).filter(Value::is_string).and_then(|value| value.as_str());
    let (unit, code) = (text("unit"), text("code"));
    let in_ucum = quantity.get("system").is_some_and(|system| system.is_str(known::UCUM));
    let named = [code.as_deref().filter(|_| coded && in_ucum), unit.as_deref()];
    // Where the two disagree, the longer one: nobody should read the other.
    let longest = named.iter().flatten().filter_map(|name| ucum::years(name)).reduce(f64::max);
    let years = longest.or((is_age && unit.is_none() && code.is_none()).then_some(1.0));
    let told = coded || unit.as_deref().is_some_and(ucum::is_unit) || (unit.is_none() && code.is_none());
    if !told || (is_age && years.is_none()) || named.iter().flatten().any(|name| ucum::hides_time(name)) {
        return Measure::Unknown;
    }
    let value: Option<f64> =
        quantity.get("value").filter(|value| value.kind() == Kind::Number).and_then(|value| value.raw().parse().ok());
    match (years, value) {
        (Some(years), Some(value)) if value * years > f64::from(AGE_MAX) => Measure::Over,
        _ => Measure::Known,
    }
}

#[test]
fn dates_are_read_to_the_end_or_not_at_all() {
    for (text, expected) in [
        ("1974", Some(1974)),
        ("1974-12", Some(1974)),
        ("1974-12-25", Some(1974)),
        ("2015-02-07T13:28:17-05:00", Some(2015)),
        ("2015-02-07T13:28:17.239Z", Some(2015)),
        ("", None),
        ("74", None),
        ("1974-13", None),
        ("1974-12-32", None),
        ("1974-12-25 ", None),
        ("1974-12-25-01", None),
        ("1974T10:00:00Z", None),
        ("2015-02-07T13:28:17", None),
        ("2015-02-07T13:28Z", None),
        ("2015-02-07Tnoon", None),
        ("25 Dec 1974", None),
        ("+974", None),
    ] {
        assert_eq!(year(text), expected, "`{text}`");
    }
}

#[test]
fn postal_codes_are_three_digits_or_nothing() {
    let zip = |text| zip3(text, &known::is_small_area);
    for (text, expected) in [
        ("02134", Some("021")),
        ("02134-1234", Some("021")),
        ("021341234", Some("021")),
        ("03601", Some("000")),
        ("89310", Some("000")),
        ("021", None),
        ("SW1A 1AA", None),
        ("2333ZA", None),
        ("0213é", None),
        ("02134-12", None),
    ] {
        assert_eq!(zip(text), expected, "`{text}`");
    }
}
