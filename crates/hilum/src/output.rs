//! Everything the program prints goes through here: tables for people, one JSON object per line for programs.

use std::io::{IsTerminal as _, Write as _};

use serde_json::Value;

/// `-o`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one object per line.
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

/// Prints `rows` with the columns `(heading, JSON pointer)`.
pub fn rows(format: Format, columns: &[(&str, &str)], rows: &[Value]) {
    match format {
        Format::Json => rows.iter().for_each(|row| line(&row.to_string())),
        Format::Table => table(columns, rows),
    }
}

/// Prints one object: as JSON, or a line per member.
pub fn object(format: Format, value: &Value) {
    match (format, value) {
        (Format::Json, value) => line(&value.to_string()),
        (Format::Table, Value::Object(members)) => {
            let width = members.keys().map(String::len).max().unwrap_or(0);
            for (name, member) in members {
                let mut lines = cell(member).lines().map(str::to_owned).collect::<Vec<_>>().into_iter();
                line(&format!("{name:width$}  {}", lines.next().unwrap_or_default()));
                lines.for_each(|more| line(&format!("{:width$}  {more}", "")));
            }
        }
        (Format::Table, other) => line(&cell(other)),
    }
}

fn table(columns: &[(&str, &str)], rows: &[Value]) {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|(_, pointer)| row.pointer(pointer).map_or_else(String::new, cell)).collect())
        .collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, (heading, _))| {
            let longest = cells.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count()).max();
            longest.unwrap_or(0).max(heading.len())
        })
        .collect();
    let padded = |texts: Vec<&str>| {
        let joined: Vec<String> = texts.iter().zip(&widths).map(|(text, width)| format!("{text:width$}")).collect();
        joined.join("  ").trim_end().to_owned()
    };
    line(&styled("1", &padded(columns.iter().map(|(heading, _)| *heading).collect())));
    for row in &cells {
        line(&padded(row.iter().map(String::as_str).collect()));
    }
    if rows.is_empty() {
        note("(none)");
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let texts: Vec<String> = items.iter().map(cell).collect();
            let joined = texts.join(", ");
            if joined.len() > 100 { texts.join("\n") } else { joined }
        }
        Value::Object(members) => {
            let texts: Vec<String> = members.iter().map(|(name, member)| format!("{name}={}", cell(member))).collect();
            texts.join(" ")
        }
        other => other.to_string(),
    }
}
