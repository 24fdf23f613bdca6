//! `hilum audit …`, `hilum alert …`, `hilum explain ID`

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use serde_json::Value;

use super::client::{Client, items, segment};
use crate::cli::{Exit, Failure};
use crate::output::{self, Cell, Column, Format};
use crate::words;

/// `hilum alert …`
#[derive(Debug, Subcommand)]
pub enum Alert {
    /// List alerts, newest first
    List {
        /// At most this many
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Alerts of the installation itself: its disk, clock and ledger
        #[arg(long)]
        system: bool,
    },
}

/// `hilum audit …`
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Check every frame, hash and signature of a ledger folder; needs no running gate
    #[command(after_help = "Example:  hilum audit verify --config gate/hilum.toml")]
    Verify(Verify),
    /// Search records; the search is itself recorded
    #[command(after_help = "Example:  hilum audit search --integration scheduler-1 --reason other-patient")]
    Search(Search),
    /// Who touched this patient's record, through which app, under what scope
    #[command(after_help = "Example:  hilum audit who 4711 --from 2026-03-01 --to 2026-04-01")]
    Who {
        /// Patient id at the upstream
        patient: String,
        /// From this day or RFC 3339 time
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Until this day or RFC 3339 time
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
    },
    /// Show one record
    Show {
        /// tenant/node/index
        id: String,
    },
}

/// What to verify.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:  hilum audit verify --config gate/hilum.toml\n           hilum audit verify --dir ledger --key BASE64 --checkpoint kept-last-month\n\nKeep the key and the checkpoints elsewhere: whoever holds them can tell another history from this one."
)]
pub struct Verify {
    /// Configuration that names the ledger folder and opens its key
    #[arg(long, short = 'c', value_name = "FILE", conflicts_with_all = ["dir", "key"], required_unless_present = "dir")]
    config: Option<PathBuf>,
    /// The ledger folder itself, e.g. a copy
    #[arg(long, requires = "key")]
    dir: Option<PathBuf>,
    /// The ledger's public key, as an earlier `verify` printed it
    #[arg(long)]
    key: Option<String>,
    /// A checkpoint kept from earlier; must be a prefix of what is there. May be repeated
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
}

/// What to search for.
#[derive(Debug, clap::Args)]
pub struct Search {
    /// Record kind, e.g. fhir-read, fhir-denied, token-issue
    #[arg(long)]
    kind: Option<String>,
    /// Only this integration's
    #[arg(long)]
    integration: Option<String>,
    /// Only this session's
    #[arg(long)]
    session: Option<String>,
    /// Only this reason code
    #[arg(long)]
    reason: Option<String>,
    /// Only what ended so: success, denied or failed
    #[arg(long)]
    outcome: Option<String>,
    /// Only what this person did
    #[arg(long)]
    person: Option<String>,
    /// From this day or RFC 3339 time
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Until this day or RFC 3339 time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// At most this many, newest first
    #[arg(long, default_value_t = 100)]
    limit: u32,
}

/// What a search shows of a record.
const SEARCH: [Column; 6] = [
    ("TIME (UTC)", Cell::Time("/time")),
    ("RECORD", Cell::At("/id")),
    ("KIND", Cell::At("/kind")),
    ("WHO", Cell::Of(who)),
    ("WHAT", Cell::Of(what)),
    ("RESULT", Cell::Of(result)),
];

/// Who touched the record, through which app, under what scope (S3-02).
const WHO: [Column; 5] = [
    ("TIME (UTC)", Cell::Time("/time")),
    ("RECORD", Cell::At("/id")),
    ("WHO", Cell::Of(who)),
    (
        "WHAT",
        Cell::Of(|row| match result(row).as_str() {
            "done" => what(row),
            result => format!("{}: {result}", what(row)),
        }),
    ),
    ("SCOPE", Cell::At("/phi/scope")),
];

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or("")
}

fn who(row: &Value) -> String {
    match (text(row, "integration"), text(row, "person")) {
        ("", "") if text(row, "tenant") == "_system" => "the system".into(),
        ("", person) => person.to_owned(),
        (integration, "") => integration.to_owned(),
        (integration, person) => format!("{integration} for {person}"),
    }
}

fn what(row: &Value) -> String {
    match (text(row, "interaction"), text(row, "object")) {
        // A refusal has no typed interaction; what was asked is sealed, and open here only where the sealed part is.
        ("", "") => row.pointer("/phi/request").and_then(Value::as_str).unwrap_or("").to_owned(),
        (interaction, object) => format!("{interaction} {object}").trim().to_owned(),
    }
}

/// `3 released`, `1 released, 2 held back`, `denied: other-patient`; `begins` before an action, `goes on` before a part of a stream.
fn result(row: &Value) -> String {
    let count = |name: &str| row.get(name).and_then(Value::as_u64).unwrap_or(0);
    let reason = text(row, "reason");
    let fhir = text(row, "kind").starts_with("fhir.");
    match (text(row, "outcome"), reason, count("released"), count("filtered")) {
        ("success", "", 0, 0) if text(row, "phase") == "intent" => "begins".into(),
        ("success", "", 0, 0) if text(row, "phase") == "open" => "goes on".into(),
        ("success", _, released, 0) if fhir => format!("{released} released"),
        ("success", _, released, filtered) if fhir => format!("{released} released, {filtered} held back"),
        ("success", "", ..) => "done".into(),
        ("success", reason, ..) => reason.to_owned(),
        (outcome, "", ..) => outcome.to_owned(),
        (outcome, reason, ..) => format!("{outcome}: {reason}"),
    }
}

/// Runs one verb. `verify` reads a folder; everything else asks the gate.
pub async fn run(client: &Result<Client, Failure>, command: Audit, format: Format) -> Result<Exit, Failure> {
    if let Audit::Verify(command) = command {
        return verify(command, format).await;
    }
    let client = client.as_ref().map_err(|why| Failure::failed(why.to_string()))?;
    let tenant = client.tenant().await?;
    let base = format!("/tenants/{}", segment(&tenant));
    match command {
        Audit::Search(search) => {
            let Search { kind, integration, session, reason, outcome, person, from, to, limit } = search;
            let query = query(&[
                ("kind", kind),
                ("integration", integration),
                ("session", session),
                ("reason", reason),
                ("outcome", outcome),
                ("person", person),
                ("from", from),
                ("to", to),
                ("limit", Some(limit.to_string())),
            ]);
            page(format, &SEARCH, &client.get(&format!("{base}/audit?{query}")).await?);
        }
        Audit::Who { patient, from, to, limit } => {
            let query =
                query(&[("patient", Some(patient)), ("from", from), ("to", to), ("limit", Some(limit.to_string()))]);
            page(format, &WHO, &client.get(&format!("{base}/who?{query}")).await?);
        }
        Audit::Show { id } => output::object(format, &client.get(&record_path(&id, "")?).await?),
        Audit::Verify(_) => {}
    }
    Ok(Exit::Done)
}

/// Lists alerts.
pub async fn alert(client: &Client, command: Alert, format: Format) -> Result<Exit, Failure> {
    let Alert::List { limit, system } = command;
    let path = if system {
        format!("/system/alerts?limit={limit}")
    } else {
        format!("/tenants/{}/alerts?limit={limit}", segment(&client.tenant().await?))
    };
    let columns = [
        ("TIME (UTC)", Cell::Time("/time")),
        ("RECORD", Cell::At("/id")),
        ("INTEGRATION", Cell::At("/integration")),
        ("ALERT", Cell::At("/reason")),
        ("WHAT IT SAYS", Cell::Of(|row| words::alert(text(row, "reason")).to_owned())),
    ];
    let mut answer = client.get(&path).await?;
    for record in answer.get_mut("records").and_then(Value::as_array_mut).into_iter().flatten() {
        let says = words::alert(text(record, "reason"));
        if let Some(members) = record.as_object_mut() {
            members.insert("says".into(), says.into());
        }
    }
    page(format, &columns, &answer);
    Ok(Exit::Done)
}

/// Explains one record.
pub async fn explain(client: &Client, id: &str, format: Format) -> Result<Exit, Failure> {
    let answer = client.get(&record_path(id, "/explain")?).await?;
    if format == Format::Json {
        output::object(format, &answer);
        return Ok(Exit::Done);
    }
    for says in explained(&answer) {
        output::line(&says);
    }
    let related = answer.get("related").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !related.is_empty() {
        output::line("");
        output::line("other records of the same request:");
        output::rows(format, &SEARCH, related);
    }
    Ok(Exit::Done)
}

/// The sentences of an explained record, the reason in words.
pub fn explained(answer: &Value) -> Vec<String> {
    let says = answer.get("says").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut out: Vec<String> = says.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let record = answer.get("record").unwrap_or(&Value::Null);
    let code = text(record, "reason");
    let meaning = if text(record, "kind") == "alert" { words::alert(code) } else { words::reason(code) };
    if let Some(line) = out.iter_mut().find(|line| **line == format!("reason: {code}"))
        && !meaning.is_empty()
    {
        *line = format!("reason: {code} ({meaning})");
    }
    out
}

/// A page of records; says so when there are more.
fn page(format: Format, columns: &[Column], answer: &Value) {
    output::rows(format, columns, &items(answer));
    if answer.get("next").is_some_and(|next| !next.is_null()) {
        output::note("there are more; narrow with --from and --to, or raise --limit (at most 1000)");
    }
}

fn record_path(id: &str, after: &str) -> Result<String, Failure> {
    let parts: Vec<&str> = id.split('/').collect();
    let [tenant, node, index] = parts.as_slice() else {
        return Err(Failure::usage(format!("`{id}`: a record id is tenant/node/index")));
    };
    Ok(format!("/tenants/{}/audit/{}/{}{after}", segment(tenant), segment(node), segment(index)))
}

fn query(pairs: &[(&str, Option<String>)]) -> String {
    let given = pairs.iter().filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_deref()?))));
    given.collect::<Vec<_>>().join("&")
}

async fn verify(command: Verify, format: Format) -> Result<Exit, Failure> {
    let (dir, key) = match (command.config, command.dir, command.key) {
        (Some(config), ..) => {
            let config = crate::config::read(&config).map_err(|why| Failure::configuration(why.to_string()))?;
            let root = super::serve::root_key(&config.root_key)?;
            let key = server::app::ledger_key(&config.settings, &root)
                .await
                .map_err(|why| Failure::failed(why.to_string()))?;
            (config.settings.ledger_dir, key)
        }
        (None, Some(dir), Some(key)) => {
            let bytes = STANDARD.decode(&key).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            (dir, ledger::VerifyingKey(bytes.ok_or_else(|| Failure::usage("--key must be 32 bytes in base64"))?))
        }
        _ => return Err(Failure::usage("say --config FILE, or --dir FOLDER and --key KEY")),
    };
    let mut notes = Vec::new();
    for file in &command.checkpoints {
        notes.push(
            std::fs::read_to_string(file)
                .map_err(|why| Failure::failed(format!("cannot read `{}`: {why}", file.display())))?,
        );
    }
    let notes: Vec<&str> = notes.iter().map(String::as_str).collect();
    let progress = indicatif::ProgressBar::new_spinner().with_message(format!("verifying {}", dir.display()));
    progress.enable_steady_tick(std::time::Duration::from_millis(120));
    let report = server::audit::verify(&dir, &key, &notes);
    progress.finish_and_clear();
    let report = report.map_err(|why| Failure::failed(format!("`{}` does not verify: {why}", dir.display())))?;
    let mut value = serde_json::to_value(&report).map_err(|why| Failure::failed(why.to_string()))?;
    if let Some(object) = value.as_object_mut() {
        object.insert("key".into(), STANDARD.encode(key.0).into());
    }
    if format == Format::Json {
        output::object(format, &value);
    } else {
        told(&value);
    }
    // What is out of order without being another history (a torn tail after a crash) is shown, and is not clean.
    Ok(if report.clean { Exit::Done } else { Exit::Failed })
}

/// The report for people.
fn told(value: &Value) {
    let count = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or(0);
    let clean = value.get("clean") == Some(&Value::Bool(true));
    let verdict = if clean { "verifies" } else { "verifies, but not all is in order" };
    output::line(&format!(
        "{verdict}: {} entries in {} commits, every frame, hash and signature",
        count("entries"),
        count("commits")
    ));
    if count("torn_bytes") > 0 {
        output::line(&format!("  {} bytes of an unfinished commit at the end", count("torn_bytes")));
    }
    for place in value.get("damaged_checkpoints").and_then(Value::as_array).into_iter().flatten() {
        output::line(&format!("  checkpoint file `{}` does not verify", place.as_str().unwrap_or("")));
    }
    let logs = value.get("logs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let columns = [("LOG", Cell::At("/origin")), ("ENTRIES", Cell::At("/size")), ("ROOT", Cell::At("/root"))];
    output::rows(Format::Table, &columns, logs);
    output::line(&format!("public key  {}", text(value, "key")));
}
