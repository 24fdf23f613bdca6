//! Everything the program prints goes through here: tables for people, one JSON object per line for programs.

use std::io::{IsTerminal as _, Write as _};

use serde_json::Value;

/// `-o`: a table for people, or JSON with one object per line for programs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Format {
    // Plain comments: documented values would make clap print every help in its long form.
    #[default]
    Table,
    Json,
}

/// Writes one line to standard output. A reader that went away (`| head`) is no error of ours.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes one line to standard error: notes, progress, errors.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Whether people are looking and want colour (`NO_COLOR` is honoured).
#[must_use]
pub fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// `text` in an SGR style, on a terminal only.
#[must_use]
pub fn styled(style: &str, text: &str) -> String {
    if colour() { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Widest table: what most terminals and a printed page hold.
const WIDTH_MAX: usize = 120;
/// In a table that is too wide, a column of text before the last is this wide at most.
const TEXT_MAX: usize = 32;
/// A last column is never wrapped narrower than this.
const WRAP_MIN: usize = 24;

/// What a column shows of its row.
#[derive(Clone, Copy)]
pub enum Cell {
    /// The member at a JSON pointer.
    At(&'static str),
    /// The time at a JSON pointer, to the second.
    Time(&'static str),
    /// The end of something, at a JSON pointer.
    Until(&'static str),
    /// Something made of several members.
    Of(fn(&Value) -> String),
}

/// A heading and what stands under it.
pub type Column = (&'static str, Cell);

impl Cell {
    fn show(self, row: &Value) -> String {
        match self {
            Self::At(pointer) => row.pointer(pointer).map_or_else(String::new, cell),
            Self::Time(pointer) => row.pointer(pointer).and_then(Value::as_str).map_or_else(String::new, moment),
            Self::Until(pointer) => row.pointer(pointer).and_then(Value::as_str).map_or_else(String::new, until),
            Self::Of(show) => show(row),
        }
    }
}

/// `2026-11-23T02:44:41.963000Z` as people read it: `2026-11-23 02:44:41`.
#[must_use]
pub fn moment(text: &str) -> String {
    let seconds = text.trim_end_matches('Z').split('.').next().unwrap_or(text);
    seconds.replacen('T', " ", 1)
}

/// Prints `rows`: one object per line, or a table with these columns.
pub fn rows(format: Format, columns: &[Column], rows: &[Value]) {
    match format {
        Format::Json => rows.iter().for_each(|row| line(&row.to_string())),
        Format::Table => {
            table(columns, rows).iter().enumerate().for_each(|(index, text)| match index {
                0 => line(&styled("1", text)),
                _ => line(text),
            });
            if rows.is_empty() {
                note("(none)");
            }
        }
    }
}

/// The end of something: midnight is shown as the end of the day before, as people mean it.
#[must_use]
pub fn until(text: &str) -> String {
    let shown = moment(text);
    let day = shown.strip_suffix(" 00:00:00").and_then(|day| {
        let form = time::macros::format_description!("[year]-[month]-[day]");
        time::Date::parse(day, form).ok()?.previous_day()
    });
    day.map_or(shown, |day| format!("{day} 24:00"))
}

/// Prints one object: as JSON, or a line per member that says something; members of members by `outer.inner`.
pub fn object(format: Format, value: &Value) {
    match format {
        Format::Json => line(&value.to_string()),
        Format::Table => {
            let mut lines = Vec::new();
            flatten("", value, &mut lines);
            fields(lines);
        }
    }
}

/// Prints `name  text` lines, wrapped and in columns; a name that is empty goes on with the one above.
pub fn fields(lines: Vec<(String, String)>) {
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, text) in lines {
        for (number, part) in wrap(&text, WIDTH_MAX.saturating_sub(width + 2).max(WRAP_MIN)).into_iter().enumerate() {
            line(format!("{:width$}  {part}", if number == 0 { name.as_str() } else { "" }).trim_end());
        }
    }
}

/// A few plain words fit one line; sentences and objects have lines of their own.
fn short(items: &[Value]) -> bool {
    let words = |item: &Value| item.as_str().is_some_and(|text| !text.contains(", ") && text.split(' ').count() <= 3);
    !items.is_empty() && items.iter().all(words)
}

fn flatten(name: &str, value: &Value, out: &mut Vec<(String, String)>) {
    let inner = |member: &str| if name.is_empty() { member.to_owned() } else { format!("{name}.{member}") };
    match value {
        Value::Null => {}
        Value::String(text) if text.is_empty() => {}
        Value::Object(members) => members.iter().for_each(|(member, value)| flatten(&inner(member), value, out)),
        Value::Array(items) if short(items) => out.push((name.to_owned(), cell(value))),
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                // `["name", "value"]` pairs read as members do.
                match item.as_array().map(Vec::as_slice) {
                    Some([Value::String(member), value]) => flatten(&inner(member), value, out),
                    _ => out.push((if number == 0 { name.to_owned() } else { String::new() }, cell(item))),
                }
            }
        }
        other => out.push((name.to_owned(), cell(other))),
    }
}

/// The lines of a table; the last column takes what is left of [`WIDTH_MAX`] and goes on below itself.
fn table(columns: &[Column], rows: &[Value]) -> Vec<String> {
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|(_, cell)| cell.show(row)).collect()).collect();
    let widest = |index: usize, heading: &str| {
        let longest = cells.iter().filter_map(|row| row.get(index)).flat_map(|cell| cell.lines());
        longest.map(|line| line.chars().count()).max().unwrap_or(0).max(heading.chars().count())
    };
    let mut widths: Vec<usize> =
        columns.iter().enumerate().map(|(index, (heading, _))| widest(index, heading)).collect();
    // Text gives way first; what is one word (an id) stays whole, so that it can be copied.
    if widths.iter().map(|width| width + 2).sum::<usize>() > WIDTH_MAX {
        let several = |index: usize| cells.iter().any(|row| row.get(index).is_some_and(|cell| cell.contains(' ')));
        let text = widths.iter_mut().enumerate().filter(|(index, _)| several(*index));
        text.for_each(|(index, width)| {
            *width = if index + 1 < columns.len() { (*width).min(TEXT_MAX) } else { *width }
        });
    }
    let before: usize = widths.iter().rev().skip(1).map(|width| width + 2).sum();
    if let Some(last) = widths.last_mut() {
        *last = (*last).min(WIDTH_MAX.saturating_sub(before).max(WRAP_MIN));
    }
    let headings = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    std::iter::once(headings).chain(cells).flat_map(|row| lines_of(&row, &widths)).collect()
}

fn lines_of(row: &[String], widths: &[usize]) -> Vec<String> {
    let wrapped: Vec<Vec<String>> = row
        .iter()
        .zip(widths)
        .map(|(text, width)| wrap(text, *width).iter().flat_map(|part| pieces(part, *width)).collect())
        .collect();
    let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
    let at = |index: usize| {
        let texts = wrapped.iter().zip(widths);
        let padded = texts.map(|(lines, width)| format!("{:width$}", lines.get(index).map_or("", String::as_str)));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    (0..height).map(at).collect()
}

/// A word that is too long for its column, in pieces that fit.
fn pieces(text: &str, width: usize) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    if letters.is_empty() {
        return vec![String::new()];
    }
    letters.chunks(width.max(1)).map(|piece| piece.iter().collect()).collect()
}

/// `text` in lines of at most `width`, broken between words; a longer word stays whole.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut out = Vec::new();
    for paragraph in text.lines() {
        let mut current = String::new();
        for word in paragraph.split_whitespace() {
            if !current.is_empty() && current.chars().count() + 1 + word.chars().count() > width {
                out.push(std::mem::take(&mut current));
            }
            if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(word);
        }
        out.push(current);
    }
    if out.is_empty() { vec![String::new()] } else { out }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            let texts: Vec<String> = members.iter().map(|(name, member)| format!("{name}={}", cell(member))).collect();
            texts.join(" ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_keeps_to_its_width_and_wraps_the_last_column() {
        let long = "patient/Patient.rs patient/Appointment.rs ".repeat(6);
        let rows = [json!({"time": "2026-11-23T02:44:41.963000Z", "who": "x".repeat(40), "scope": long})];
        let columns = [("TIME (UTC)", Cell::Time("/time")), ("WHO", Cell::At("/who")), ("SCOPE", Cell::At("/scope"))];
        let lines = table(&columns, &rows);
        assert!(lines.len() > 3 && lines.iter().all(|line| line.chars().count() <= WIDTH_MAX), "{lines:#?}");
        assert!(lines[1].starts_with("2026-11-23 02:44:41  xxx"), "{lines:#?}");
        assert!(lines[2].starts_with(&" ".repeat(60)), "{lines:#?}");
    }

    #[test]
    fn the_end_of_a_day_is_that_day() {
        assert_eq!(until("2027-07-01T00:00:00Z"), "2027-06-30 24:00");
        assert_eq!(until("2027-07-01T09:30:00Z"), "2027-07-01 09:30:00");
    }

    #[test]
    fn members_of_members_are_lines_of_their_own() {
        let mut out = Vec::new();
        let value = json!({"a": {"b": [["x", "1"], ["y", 2]], "none": ""}, "list": ["p", "q"]});
        flatten("", &value, &mut out);
        let shown: Vec<String> = out.iter().map(|(name, text)| format!("{name}={text}")).collect();
        assert_eq!(shown, ["a.b.x=1", "a.b.y=2", "list=p, q"]);
    }

    #[test]
    fn an_empty_table_has_its_headings() {
        assert_eq!(table(&[("ID", Cell::At("/id")), ("NAME", Cell::At("/name"))], &[]), ["ID  NAME"]);
    }
}
