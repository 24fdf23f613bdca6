//! `hilum approval …`: requested by one person, decided by another (S0-05).

use clap::Subcommand;
use serde_json::json;

use super::client::{Client, items, segment};
use crate::cli::{Exit, Failure};
use crate::output::{self, Format};

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
        #[arg(long)]
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
    /// End one for good
    End {
        /// Its id
        id: String,
        /// Why, for the record
        #[arg(long)]
        reason: String,
    },
}

const COLUMNS: [(&str, &str); 6] = [
    ("ID", "/id"),
    ("INTEGRATION", "/integration"),
    ("TASK", "/task"),
    ("STATUS", "/status"),
    ("UNTIL", "/until"),
    ("REQUESTED BY", "/requested_by"),
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
            output::object(format, &client.get(&format!("{base}/{}", segment(&id))).await?);
            return Ok(Exit::Done);
        }
        Approval::Approve { id, until } => (id, "approve", json!({ "until": until })),
        Approval::Reject { id, reason } => (id, "reject", json!({ "reason": reason })),
        Approval::Suspend { id, reason } => (id, "suspend", json!({ "reason": reason })),
        Approval::End { id, reason } => (id, "end", json!({ "reason": reason })),
    };
    output::object(format, &client.post(&format!("{base}/{}/{verb}", segment(&id)), &body).await?);
    Ok(Exit::Done)
}
