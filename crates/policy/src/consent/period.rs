//! Periods of time as R4 writes them: both bounds included, each as precise as it was written.

use domain::Millis;
use fhir::json::Value;

use super::criterion::Match;

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
const DAY: Millis = 24 * HOUR;

/// A `Period` of at least one bound.
pub(super) struct Period {
    start: Option<Bound>,
    end: Option<Bound>,
}

/// The moment from which something holds or no longer holds, `[earliest, latest]`: they differ for a date, which has
/// no time zone and begins in the east of the world while it is still noon of the day before in the west.
struct Bound {
    earliest: Millis,
    latest: Millis,
}

impl Period {
    /// `None` if it has no bound, or one that is no FHIR dateTime, or ends before it starts.
    pub(super) fn read(value: Value<'_>) -> Option<Self> {
        // `_start` says why there is no value, or what a value does not say.
        if value.members().any(|(key, _)| key.text().starts_with('_')) {
            return None;
        }
        let bound = |name, pick: fn((Millis, Millis)) -> Millis| match value.get(name) {
            None => Some(None),
            Some(text) => {
                let (span, zoned) = span(&text.as_str()?)?;
                let at = pick(span);
                Some(Some(if zoned {
                    Bound { earliest: at, latest: at }
                } else {
                    Bound { earliest: at - 14 * HOUR, latest: at + 12 * HOUR }
                }))
            }
        };
        let (start, end) = (bound("start", |span| span.0)?, bound("end", |span| span.1)?);
        match (&start, &end) {
            (None, None) => None,
            (Some(start), Some(end)) if end.latest <= start.earliest => None,
            _ => Some(Self { start, end }),
        }
    }

    /// Whether `now` is within it.
    pub(super) fn covers(&self, now: Millis) -> Match {
        let started = self.start.as_ref().map_or(Match::Yes, |bound| bound.is_past(now));
        let running = match self.end.as_ref().map_or(Match::No, |bound| bound.is_past(now)) {
            Match::No => Match::Yes,
            Match::Maybe => Match::Maybe,
            Match::Yes => Match::No,
        };
        started.min(running)
    }
}

impl Bound {
    fn is_past(&self, now: Millis) -> Match {
        if now < self.earliest {
            Match::No
        } else if now < self.latest {
            Match::Maybe
        } else {
            Match::Yes
        }
    }
}

/// The first millisecond of a FHIR dateTime and the first after it, and whether it has a time zone (R4 "dateTime").
fn span(text: &str) -> Option<((Millis, Millis), bool)> {
    let (date, time) = text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
    let mut parts = date.splitn(3, '-');
    let year = number(parts.next()?, 4)?;
    let Some(month) = parts.next() else {
        return time.is_none().then(|| ((midnight(year, 1, 1), midnight(year + 1, 1, 1)), false));
    };
    let month = number(month, 2).filter(|month| (1..=12).contains(month))?;
    let month_after = if month == 12 { midnight(year + 1, 1, 1) } else { midnight(year, month + 1, 1) };
    let Some(day) = parts.next() else {
        return time.is_none().then(|| ((midnight(year, month, 1), month_after), false));
    };
    let start = midnight(year, month, number(day, 2).filter(|day| *day >= 1)?);
    if start >= month_after {
        return None;
    }
    let Some(time) = time else { return Some(((start, start + DAY), false)) };
    let (of_day, precision) = time_of_day(time)?;
    Some(((start + of_day, start + of_day + precision), true))
}

/// `hh:mm:ss`, a fraction if there is one, and the time zone that R4 requires: milliseconds after midnight UTC, and how
/// many of them the text stands for.
fn time_of_day(text: &str) -> Option<(Millis, Millis)> {
    let (clock, offset) = match text.strip_suffix('Z') {
        Some(clock) => (clock, 0),
        None => {
            let (clock, sign, zone) = match text.split_once('+') {
                Some((clock, zone)) => (clock, 1, zone),
                None => text.split_once('-').map(|(clock, zone)| (clock, -1, zone))?,
            };
            let (hours, minutes) = zone.split_once(':')?;
            let minutes = number(minutes, 2).filter(|minutes| *minutes < 60)?;
            (clock, sign * (number(hours, 2).filter(|hours| *hours <= 14)? * HOUR + minutes * MINUTE))
        }
    };
    let (clock, fraction) = clock.split_once('.').map_or((clock, None), |(clock, rest)| (clock, Some(rest)));
    let mut parts = clock.splitn(3, ':');
    let hours = number(parts.next()?, 2).filter(|hours| *hours < 24)?;
    let minutes = number(parts.next()?, 2).filter(|minutes| *minutes < 60)?;
    // 60 is a leap second.
    let seconds = number(parts.next()?, 2).filter(|seconds| *seconds <= 60)?;
    let at = hours * HOUR + minutes * MINUTE + seconds * 1000 - offset;
    match fraction {
        None => Some((at, 1000)),
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            let millis: String = digits.chars().chain("00".chars()).take(3).collect();
            Some((at + number(&millis, 3)?, 1))
        }
        Some(_) => None,
    }
}

/// Midnight UTC of a civil date, after H. Hinnant's `days_from_civil`.
fn midnight(year: i64, month: i64, day: i64) -> Millis {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era - 719_468) * DAY
}

fn number(text: &str, digits: usize) -> Option<i64> {
    if text.len() == digits && text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhir::json::Document;

    #[test]
    fn date_times_are_as_precise_as_they_are_written() {
        let noon = 1_795_435_200_000; // 2026-11-23T12:00:00Z
        let day = 1_795_392_000_000;
        for (text, expected) in [
            ("2026-11-23T12:00:00Z", Some(((noon, noon + 1000), true))),
            ("2026-11-23T13:30:00+01:30", Some(((noon, noon + 1000), true))),
            ("2026-11-23T07:00:00.25-05:00", Some(((noon + 250, noon + 251), true))),
            ("2026-11-23", Some(((day, day + DAY), false))),
            ("2026-11", Some(((day - 22 * DAY, day + 8 * DAY), false))),
            ("2024-02-29", Some(((1_709_164_800_000, 1_709_251_200_000), false))),
            ("1970", Some(((0, 365 * DAY), false))),
            ("1970-12", Some(((334 * DAY, 365 * DAY), false))),
            ("2023-02-29", None),
            ("2026-11-31", None),
            ("2026-11-00", None),
            ("2026-13", None),
            ("2026-00", None),
            ("26", None),
            ("", None),
            ("T", None),
            ("2026T12:00:00Z", None),
            ("2026-11-23T12:00:00", None),
            ("2026-11-23T12:00Z", None),
            ("2026-11-23T24:00:00Z", None),
            ("2026-11-23T12:00:00.Z", None),
            ("2026-11-23T12:00:00+1:00", None),
            ("2026-11-23T12:00:00+15:00", None),
            ("2026-11-23-01", None),
            ("+026-11-23", None),
            (" 2026-11-23", None),
        ] {
            assert_eq!(span(text), expected, "`{text}`");
        }
    }

    #[test]
    fn a_period_includes_its_bounds_and_a_date_is_a_day_somewhere() {
        let at = |text: &str| span(text).unwrap().0.0;
        for (period, now, expected) in [
            (r#"{"start":"2026-01-01","end":"2026-12-31"}"#, "2026-06-01T00:00:00Z", Match::Yes),
            (r#"{"start":"2026-01-01"}"#, "2025-12-31T09:00:00Z", Match::No),
            (r#"{"start":"2026-01-01"}"#, "2025-12-31T11:00:00Z", Match::Maybe),
            (r#"{"start":"2026-01-01"}"#, "2026-01-01T11:00:00Z", Match::Maybe),
            (r#"{"start":"2026-01-01"}"#, "2026-01-01T12:00:00Z", Match::Yes),
            (r#"{"end":"2026-01-01"}"#, "2026-01-01T09:00:00Z", Match::Yes),
            (r#"{"end":"2026-01-01"}"#, "2026-01-02T11:00:00Z", Match::Maybe),
            (r#"{"end":"2026-01-01"}"#, "2026-01-02T12:00:00Z", Match::No),
            (r#"{"end":"2026-01-01T00:00:00Z"}"#, "2026-01-01T00:00:00Z", Match::Yes),
            (r#"{"end":"2026-01-01T00:00:00Z"}"#, "2026-01-01T00:00:01Z", Match::No),
        ] {
            let document = Document::parse(period.as_bytes()).unwrap();
            assert_eq!(Period::read(document.root()).unwrap().covers(at(now)), expected, "{period} {now}");
        }
        for period in [
            "{}",
            r#"{"start":7}"#,
            r#"{"start":"soon"}"#,
            r#"{"start":"2026","_end":{"extension":[]}}"#,
            r#"{"start":"2027","end":"2025"}"#,
        ] {
            let document = Document::parse(period.as_bytes()).unwrap();
            assert!(Period::read(document.root()).is_none(), "{period}");
        }
    }
}
