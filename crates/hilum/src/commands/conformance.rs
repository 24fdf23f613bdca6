//! `hilum conformance URL`: the black-box suite against any SMART on FHIR server, ours or another.

use std::path::{Path, PathBuf};

use conformance::config::Config;
use conformance::{Finding, Status, Suite};
use serde_json::{Value, json};

use crate::cli::{Exit, Failure};
use crate::output::{self, Cell, Column, Format};

/// What `hilum conformance` was told.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  hilum conformance http://127.0.0.1:8443/mercy                 what needs no account\n  hilum conformance http://127.0.0.1:8443/mercy --with my.toml  with clients and people\n  hilum conformance http://127.0.0.1:8443/mercy --only NEG-1 -o json\n  hilum conformance --list\n\nIt sends thousands of requests that a server must refuse: use a test system, and say so to whoever watches it.\nThe file, and what each result means: docs/conformance.md. Exit code 0: nothing failed; 1: something did."
)]
pub struct Conformance {
    /// FHIR base or issuer
    #[arg(required_unless_present = "list")]
    pub url: Option<String>,
    /// Clients, people and patients that may be used [without: discovery and anonymous rows only]
    #[arg(long, value_name = "FILE")]
    pub with: Option<PathBuf>,
    /// Only rows whose id begins so, e.g. NEG-1 or TK-
    #[arg(long, value_name = "ID-PREFIX")]
    pub only: Option<String>,
    /// List the rows with their clauses; nothing is sent
    #[arg(long, conflicts_with = "with")]
    pub list: bool,
}

/// As in the table.
const COLUMNS: &[Column] = &[
    ("ID", Cell::At("/id")),
    ("RESULT", Cell::Of(|row| result(row).to_owned())),
    ("CASES", Cell::Of(count)),
    ("REQUIREMENT", Cell::Of(requirement)),
];

/// As in the list of rows.
const LISTED: &[Column] = &[
    ("ID", Cell::At("/id")),
    ("AREA", Cell::At("/area")),
    ("SENT", Cell::At("/sends")),
    ("EXPECTED, BY CLAUSE", Cell::Of(|row| format!("{}\n{}", text(row, "expects"), text(row, "clause")))),
];

/// Runs it.
pub async fn run(asked: Conformance, format: Format) -> Result<Exit, Failure> {
    let chosen = |id: &str| asked.only.as_deref().is_none_or(|only| id.starts_with(only));
    let only = asked.only.as_deref();
    let known = listed().into_iter().filter(|row| chosen(text(row, "id")));
    let known: Vec<Value> = known.collect();
    if known.is_empty() {
        return Err(Failure::usage(format!("no row begins with `{}`; see --list", only.unwrap_or_default())));
    }
    let Some(url) = asked.url.as_deref().filter(|_| !asked.list) else {
        output::rows(format, LISTED, &known);
        return Ok(Exit::Done);
    };
    let config = asked.with.as_deref().map(read).transpose()?.unwrap_or_default();
    let suite = Suite::new(url, config).await.map_err(Failure::failed)?;
    let mut rows = Vec::new();
    let findings = suite
        .run(only, |finding| {
            let row = serde_json::to_value(finding).unwrap_or_default();
            match format {
                // Streamed: a row may take minutes.
                Format::Json => output::line(&row.to_string()),
                Format::Table => output::note(&format!("{} {}", finding.id, finding.status.as_str())),
            }
            rows.push(row);
        })
        .await;
    if format == Format::Table {
        output::rows(format, COLUMNS, &rows);
        output::line(&summary(&findings));
    }
    let failed = findings.iter().any(|finding| finding.status == Status::Failed);
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

/// Every row, and every requirement that rows of other names show.
fn listed() -> Vec<Value> {
    let rows = conformance::rows().map(|(area, row)| {
        json!({ "id": row.id, "area": area, "clause": row.clause, "sends": row.sends, "expects": row.expects })
    });
    let shown = conformance::SHOWN.iter().map(|shown| {
        let by = format!("shown by {}", shown.by.join(", "));
        json!({ "id": shown.id, "area": "", "clause": shown.clause, "sends": by, "expects": shown.expects })
    });
    rows.chain(shown).collect()
}

fn read(path: &Path) -> Result<Config, Failure> {
    let wrong = |why: String| Failure::configuration(format!("`{}`: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|why| wrong(why.to_string()))?;
    conformance::config::parse(&text, path.parent().unwrap_or(Path::new("."))).map_err(wrong)
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn result(row: &Value) -> &'static str {
    match text(row, "status") {
        "passed" => Status::Passed.as_str(),
        "skipped" => Status::Skipped.as_str(),
        _ => Status::Failed.as_str(),
    }
}

/// Cases that passed, of those tried.
fn count(row: &Value) -> String {
    let cases = row.get("cases").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let of = |status: &str| cases.iter().filter(|case| text(case, "status") == status).count();
    let (passed, failed) = (of("passed"), of("failed"));
    if passed + failed == 0 { String::new() } else { format!("{passed}/{}", passed + failed) }
}

/// What a row asks, its clause, and below it what was not as it asks or why it was not tried.
fn requirement(row: &Value) -> String {
    let mut out = format!("{} -> {} ({})", text(row, "sends"), text(row, "expects"), text(row, "clause"));
    if !text(row, "detail").is_empty() {
        out.push('\n');
        out.push_str(text(row, "detail"));
    }
    out
}

fn summary(findings: &[Finding]) -> String {
    let of = |status: Status| findings.iter().filter(|finding| finding.status == status).count();
    let cases: usize = findings.iter().map(|finding| finding.cases.len()).sum();
    format!(
        "{} rows, {cases} cases: {} passed, {} failed, {} skipped",
        findings.len(),
        of(Status::Passed),
        of(Status::Failed),
        of(Status::Skipped)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_what_failed_and_how_many_held() {
        let row = json!({"id": "NEG-020", "status": "failed", "sends": "s", "expects": "e", "clause": "c", "detail": "a: 302",
            "cases": [{"name": "a", "status": "failed", "saw": "302"}, {"name": "b", "status": "passed", "saw": ""},
                {"name": "c", "status": "skipped", "saw": "no key"}]});
        assert_eq!((result(&row), count(&row).as_str()), ("FAILED", "1/2"));
        assert_eq!(requirement(&row), "s -> e (c)\na: 302");
        assert_eq!(count(&json!({"cases": []})), "");
    }

    #[test]
    fn every_id_stands_once_and_names_its_clause() {
        let rows = listed();
        let mut ids: Vec<&str> = rows.iter().map(|row| text(row, "id")).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
        assert!(conformance::rows().all(|(_, row)| !row.clause.is_empty() && !row.sends.is_empty()));
    }
}
