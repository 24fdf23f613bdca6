//! Civil dates without a clock: milliseconds to FHIR text and back, and FHIR dates of any precision as spans.

/// One day in milliseconds.
pub(crate) const DAY: i64 = 86_400_000;
/// One minute in milliseconds.
pub(crate) const MINUTE: i64 = 60_000;

/// A moment with the precision it was written in: `[start, end)` in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Span {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// Year, month and day of a day number (Hinnant's civil_from_days).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Day number of a civil date (Hinnant's days_from_civil).
pub(crate) fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// `2026-11-23`.
pub(crate) fn date(ms: i64) -> String {
    let (year, month, day) = civil(ms.div_euclid(DAY));
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2026-11-23T09:30:00Z`.
pub(crate) fn instant(ms: i64) -> String {
    let seconds = ms.rem_euclid(DAY) / 1000;
    format!("{}T{:02}:{:02}:{:02}Z", date(ms), seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `Mon, 23 Nov 2026 09:30:00 GMT` (RFC 9110 §5.6.7).
pub(crate) fn http_date(ms: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let day_number = ms.div_euclid(DAY);
    let (year, month, day) = civil(day_number);
    let name = usize::try_from(day_number.rem_euclid(7)).ok().and_then(|i| DAYS.get(i)).copied().unwrap_or("");
    let month = usize::try_from(month - 1).ok().and_then(|i| MONTHS.get(i)).copied().unwrap_or("");
    let seconds = ms.rem_euclid(DAY) / 1000;
    format!("{name}, {day:02} {month} {year:04} {:02}:{:02}:{:02} GMT", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Reads a FHIR date, dateTime or instant of any precision; zone-less times count as UTC.
pub(crate) fn span(text: &str) -> Option<Span> {
    let (date_part, time_part) = match text.split_once('T') {
        Some((date_part, time_part)) => (date_part, Some(time_part)),
        None => (text, None),
    };
    let mut parts = date_part.split('-');
    let year = number(parts.next()?, 4)?;
    let month = parts.next().map(|p| number(p, 2)).map_or(Some(None), |n| n.map(Some))?;
    let day = parts.next().map(|p| number(p, 2)).map_or(Some(None), |n| n.map(Some))?;
    if parts.next().is_some()
        || !month.is_none_or(|m| (1..=12).contains(&m))
        || !day.is_none_or(|d| (1..=31).contains(&d))
    {
        return None;
    }
    let Some(time_part) = time_part else {
        return Some(match (month, day) {
            (Some(month), Some(day)) => whole(days(year, month, day), days(year, month, day) + 1),
            (Some(12), None) => whole(days(year, 12, 1), days(year + 1, 1, 1)),
            (Some(month), None) => whole(days(year, month, 1), days(year, month + 1, 1)),
            (None, _) => whole(days(year, 1, 1), days(year + 1, 1, 1)),
        });
    };
    let midnight = days(year, month?, day?) * DAY;
    let (clock, offset) = zone(time_part)?;
    let mut parts = clock.split(':');
    let hour = number(parts.next()?, 2)?;
    let minute = number(parts.next()?, 2)?;
    let at_minute = midnight + (hour * 60 + minute) * MINUTE - offset;
    let Some(seconds) = parts.next() else {
        return Some(Span { start: at_minute, end: at_minute + MINUTE });
    };
    let (whole_seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let start = at_minute + number(whole_seconds, 2)? * 1000;
    if fraction.is_empty() {
        return Some(Span { start, end: start + 1000 });
    }
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    let start = start + number(&digits, 3)?;
    Some(Span { start, end: start + 1 })
}

fn whole(from: i64, to: i64) -> Span {
    Span { start: from * DAY, end: to * DAY }
}

/// Splits the zone off a time and gives its offset in milliseconds.
fn zone(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix('Z') {
        return Some((clock, 0));
    }
    for (sign, factor) in [('+', 1), (' ', 1), ('-', -1)] {
        if let Some((clock, offset)) = text.rsplit_once(sign) {
            let (hours, minutes) = offset.split_once(':')?;
            return Some((clock, factor * (number(hours, 2)? * 60 + number(minutes, 2)?) * MINUTE));
        }
    }
    Some((text, 0))
}

fn number(text: &str, digits: usize) -> Option<i64> {
    if text.len() == digits && text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[test]
fn dates_go_to_text_and_back() {
    assert_eq!(instant(0), "1970-01-01T00:00:00Z");
    assert_eq!(date(1_795_398_735_000), "2026-11-23");
    assert_eq!(http_date(1_795_398_735_000), "Mon, 23 Nov 2026 01:52:15 GMT");
    assert_eq!(span("2026-11-23T01:52:15Z"), Some(Span { start: 1_795_398_735_000, end: 1_795_398_736_000 }));
    assert_eq!(span("2026-11-23T02:52:15.500+01:00").map(|s| s.start), Some(1_795_398_735_500));
    assert_eq!(span("2026").map(|s| (s.end - s.start) / DAY), Some(365));
    assert_eq!(span("2024-02").map(|s| (s.end - s.start) / DAY), Some(29));
    assert_eq!(span("2024-12").map(|s| (s.end - s.start) / DAY), Some(31));
    for bad in ["", "26", "2026-1", "2026-13", "2026-11-23T", "2026-11-23-1", "x", "2026-11-23T1:2"] {
        assert_eq!(span(bad), None, "`{bad}`");
    }
}
