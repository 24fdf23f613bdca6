//! `hilum session …`

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, items, segment};
use crate::cli::{Exit, Failure};
use crate::output::{self, Cell, Format};

/// `hilum session …`
#[derive(Debug, Subcommand)]
pub enum Session {
    /// List them, newest first
    List {
        /// Only those that could still be used
        #[arg(long)]
        live: bool,
        /// Only this integration's
        #[arg(long)]
        integration: Option<String>,
    },
    /// Show one
    Show {
        /// Its id (`sid`)
        id: String,
    },
    /// End one: its token stops working at once
    #[command(after_help = "Example:  hilum session end 9a1f…   (an id from `hilum session list`)")]
    End {
        /// Its id (`sid`)
        id: String,
    },
}

/// Runs one verb.
pub async fn run(client: &Client, command: Session, format: Format) -> Result<Exit, Failure> {
    let tenant = client.tenant().await?;
    let base = format!("/tenants/{}/sessions", segment(&tenant));
    match command {
        Session::List { live, integration } => {
            let only = integration.map_or_else(String::new, |id| format!("&integration={}", segment(&id)));
            let columns = [
                ("ID", Cell::At("/id")),
                ("INTEGRATION", Cell::At("/integration")),
                ("TASK", Cell::At("/task")),
                ("STARTED (UTC)", Cell::Time("/created_at")),
                ("EXPIRES (UTC)", Cell::Time("/expires_at")),
                ("ENDED (UTC)", Cell::Time("/ended_at")),
            ];
            output::rows(format, &columns, &items(&client.get(&format!("{base}?live={live}{only}")).await?));
        }
        Session::Show { id } => output::object(format, &client.get(&format!("{base}/{}", segment(&id))).await?),
        Session::End { id } => {
            let answer = client.post(&format!("{base}/{}/end", segment(&id)), &json!({})).await?;
            let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or("");
            match format {
                Format::Json => output::object(format, &answer),
                Format::Table => output::line(&format!(
                    "session {id} of `{}` ended on {} UTC by {}; its token has stopped working",
                    text("integration"),
                    output::moment(text("ended_at")),
                    text("ended_by")
                )),
            }
        }
    }
    Ok(Exit::Done)
}
