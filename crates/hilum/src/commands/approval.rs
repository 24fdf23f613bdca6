//! `hilum approval …`: requested by one person, decided by another (S0-05).

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, items, segment};
use crate::cli::{Exit, Failure};
use crate::output::{self, Cell, Column, Format};

/// `hilum approval …`
#[derive(Debug, Subcommand)]
pub enum Approval {
    /// List them
    List {
        /// Only those that are requested, approved, suspended, rejected or ended
        #[arg(long)]
        status: Option<String>,
    },
    /// Show one: what is asked, in plain words
    Show {
        /// Its id
        id: String,
    },
    /// Approve what was asked; role privacy-officer, never the requester
    #[command(after_help = "Example:  hilum approval approve 4f0c… --until 2027-06-30")]
    Approve {
        /// Its id
        id: String,
        /// Last day (or RFC 3339 time) it is in force
        #[arg(long, value_name = "DATE")]
        until: String,
    },
    /// Refuse what was asked
    Reject {
        /// Its id
        id: String,
        /// Why, for the requester and the record
        #[arg(long)]
        reason: String,
    },
    /// Switch one off until it is asked for again
    Suspend {
        /// Its id
        id: String,
        /// Why, for the record
        #[arg(long)]
        reason: String,
    },
    /// End one for good; an older one of the same task does not come back
    End {
        /// Its id
        id: String,
        /// Why, for the record
        #[arg(long)]
        reason: String,
    },
}

/// What a list shows of an approval.
pub const COLUMNS: [Column; 6] = [
    ("ID", Cell::At("/id")),
    ("INTEGRATION", Cell::At("/integration")),
    ("TASK", Cell::At("/task")),
    ("STATUS", Cell::At("/status")),
    ("UNTIL (UTC)", Cell::Until("/until")),
    ("REQUESTED BY", Cell::At("/requested_by")),
];

/// Runs one verb.
pub async fn run(client: &Client, command: Approval, format: Format) -> Result<Exit, Failure> {
    let tenant = client.tenant().await?;
    let base = format!("/tenants/{}/approvals", segment(&tenant));
    let (id, verb, body) = match command {
        Approval::List { status } => {
            let query = status.map_or_else(String::new, |status| format!("?status={}", segment(&status)));
            output::rows(format, &COLUMNS, &items(&client.get(&format!("{base}{query}")).await?));
            return Ok(Exit::Done);
        }
        Approval::Show { id } => {
            let approval = client.get(&format!("{base}/{}", segment(&id))).await?;
            if format == Format::Json {
                output::object(format, &approval);
            } else {
                let integration = text(&approval, "integration");
                let path = format!("/tenants/{}/integrations/{}", segment(&tenant), segment(integration));
                told(&approval, &client.get(&path).await?);
            }
            return Ok(Exit::Done);
        }
        Approval::Approve { id, until } => (id, "approve", json!({ "until": until })),
        Approval::Reject { id, reason } => (id, "reject", json!({ "reason": reason })),
        Approval::Suspend { id, reason } => (id, "suspend", json!({ "reason": reason })),
        Approval::End { id, reason } => (id, "end", json!({ "reason": reason })),
    };
    let answer = client.post(&format!("{base}/{}/{verb}", segment(&id)), &body).await?;
    match format {
        Format::Json => output::object(format, &answer),
        Format::Table => output::line(&standing(&answer)),
    }
    Ok(Exit::Done)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("")
}

/// One sentence: who may or may not run what, until when.
fn standing(approval: &Value) -> String {
    let (who, task) = (text(approval, "integration"), text(approval, "task"));
    let first = text(approval, "first_approved_by");
    match text(approval, "status") {
        "requested" if !first.is_empty() => {
            format!("`{who}` asks to run `{task}`; {first} has approved it, and it takes a second person")
        }
        "requested" => format!("`{who}` asks to run `{task}`; nobody has decided"),
        "approved" => format!("`{who}` may run `{task}` until {} UTC", output::until(text(approval, "until"))),
        "suspended" => format!("`{who}` may not run `{task}`: suspended ({})", text(approval, "reason")),
        "rejected" => format!("`{who}` may not run `{task}`: rejected"),
        status => format!("`{who}` may not run `{task}`: {status}"),
    }
}

/// What is asked, by whom and for whom, in plain words.
fn told(approval: &Value, integration: &Value) {
    let of = |name: &str| text(integration, name).to_owned();
    let when = |name: &str| output::moment(text(approval, name));
    let words = |value: &Value, name: &str| -> Vec<String> {
        let texts = value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        texts.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    output::line(&output::styled("1", &standing(approval)));
    let mut lines = vec![
        ("who", format!("{} ({}, {}), by {}", of("name"), of("class"), of("environment"), of("vendor"))),
        ("what it is for", of("purpose")),
        ("why", text(approval, "justification").to_owned()),
        ("asked", format!("by {} on {} UTC", text(approval, "requested_by"), when("requested_at"))),
    ];
    if !text(approval, "decided_at").is_empty() {
        let by =
            Some(text(approval, "decided_by")).filter(|by| !by.is_empty()).unwrap_or("a change of what was approved");
        lines.push(("decided", format!("by {by} on {} UTC", when("decided_at"))));
    }
    lines.push(("data", words(integration, "data_classes").join(", ")));
    for (number, allowed) in words(approval, "allows").into_iter().enumerate() {
        lines.push((if number == 0 { "it may" } else { "" }, allowed));
    }
    lines.push(("scopes", text(approval, "scopes").to_owned()));
    lines.push(("registered until", output::until(&of("expires_at"))));
    lines.push(("to stop it, call", of("revocation_contact")));
    lines.push(("digest", text(approval, "digest").to_owned()));
    if approval.get("fits") == Some(&Value::Bool(false)) {
        lines.push(("beware", "what was asked has changed since; it must be asked for again".to_owned()));
    }
    output::fields(lines.into_iter().map(|(name, text)| (format!("  {name}"), text)).collect());
    if text(approval, "status") == "requested" {
        let id = text(approval, "id");
        output::note(&format!(
            "decide:  hilum approval approve {id} --until DATE\n         hilum approval reject {id} --reason WHY"
        ));
    }
}
