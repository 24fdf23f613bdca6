//! `hilum apply` and `hilum integration …`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, items, segment};
use super::registration::{self, Requests};
use crate::cli::{Exit, Failure};
use crate::manifest;
use crate::output::{self, Cell, Column, Format};

/// What `hilum apply` was told.
#[derive(Debug, clap::Args)]
pub struct Apply {
    /// Manifest (TOML, or roles in a file named .yaml); `-` reads TOML from standard input; may be repeated
    #[arg(short = 'f', long = "file", required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `hilum integration …`
#[derive(Debug, Subcommand)]
pub enum Integration {
    /// List them, with those that only ask to be registered
    List,
    /// What asks to be registered (RFC 7591): list, show or reject it
    Requests {
        #[command(subcommand)]
        command: Option<Requests>,
    },
    /// Print the manifest that registers what a request asks for, to be completed and applied
    #[command(after_help = "Example:  hilum integration adopt asked-0f… > app.toml")]
    Adopt {
        /// Its id
        id: String,
    },
    /// Show one
    #[command(after_help = "Example:  hilum integration show scheduler-1 -o json")]
    Show {
        /// Its id (client_id)
        id: String,
    },
    /// Switch one off for now; every token it holds stops working at once
    Suspend {
        /// Its id
        id: String,
        /// Why, for the record
        #[arg(long)]
        reason: String,
    },
    /// Switch a suspended one on again
    Resume {
        /// Its id
        id: String,
        /// Why, for the record
        #[arg(long)]
        reason: String,
    },
    /// Switch one off for good
    End {
        /// Its id
        id: String,
        /// Why, for the record
        #[arg(long)]
        reason: String,
    },
}

const COLUMNS: [Column; 6] = [
    ("ID", Cell::At("/id")),
    ("CLASS", Cell::At("/class")),
    ("ENVIRONMENT", Cell::At("/environment")),
    ("STATUS", Cell::At("/status")),
    ("UNTIL (UTC)", Cell::Until("/expires_at")),
    ("PURPOSE", Cell::At("/purpose")),
];

/// Runs one verb.
pub async fn run(client: &Client, command: Integration, format: Format) -> Result<Exit, Failure> {
    let tenant = client.tenant().await?;
    let base = format!("/tenants/{}/integrations", segment(&tenant));
    match command {
        Integration::List => {
            let mut rows = items(&client.get(&base).await?);
            rows.extend(registration::waiting(client, &tenant).await?);
            output::rows(format, &COLUMNS, &rows);
        }
        Integration::Requests { command } => registration::run(client, &tenant, command, format).await?,
        Integration::Adopt { id } => registration::adopt(client, &tenant, &id).await?,
        Integration::Show { id } => {
            let integration = client.get(&format!("{base}/{}", segment(&id))).await?;
            match format {
                Format::Json => output::object(format, &integration),
                Format::Table => told(integration),
            }
        }
        Integration::Suspend { id, reason } => verb(client, &base, &id, "suspend", &reason, format).await?,
        Integration::Resume { id, reason } => verb(client, &base, &id, "resume", &reason, format).await?,
        Integration::End { id, reason } => verb(client, &base, &id, "end", &reason, format).await?,
    }
    Ok(Exit::Done)
}

async fn verb(client: &Client, base: &str, id: &str, verb: &str, reason: &str, format: Format) -> Result<(), Failure> {
    let answer = client.post(&format!("{base}/{}/{verb}", segment(id)), &json!({ "reason": reason })).await?;
    match format {
        Format::Json => output::object(format, &answer),
        Format::Table => output::line(&match answer.get("status").and_then(Value::as_str).unwrap_or("") {
            "active" => format!("`{id}` is active again; what it was issued before stays ended"),
            status => format!("`{id}` is {status}; every token it held has stopped working"),
        }),
    }
    Ok(())
}

/// One registration for people: keys by their names, approvals as a table.
fn told(mut integration: Value) {
    let approvals = integration.as_object_mut().and_then(|members| members.remove("approvals")).unwrap_or_default();
    let keys: Vec<Value> = integration
        .pointer("/auth/keys/jwks/keys")
        .and_then(Value::as_array)
        .map(|keys| {
            let text = |key: &Value, name: &str| key.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
            keys.iter().map(|key| format!("{} {}", text(key, "alg"), text(key, "kid")).into()).collect()
        })
        .unwrap_or_default();
    if !keys.is_empty()
        && let Some(place) = integration.pointer_mut("/auth/keys/jwks")
    {
        *place = keys.into();
    }
    output::object(Format::Table, &integration);
    let approvals = items(&approvals);
    if !approvals.is_empty() {
        output::line("");
        output::rows(Format::Table, &super::approval::COLUMNS, &approvals);
    }
}

/// Sends each manifest; nothing is approved by it.
pub async fn apply(client: &Client, apply: Apply, format: Format) -> Result<Exit, Failure> {
    let tenant = client.tenant().await?;
    for file in &apply.files {
        let text = if file.as_os_str() == "-" {
            std::io::read_to_string(std::io::stdin())
                .map_err(|why| Failure::failed(format!("standard input: {why}")))?
        } else {
            std::fs::read_to_string(file)
                .map_err(|why| Failure::failed(format!("cannot read `{}`: {why}", file.display())))?
        };
        let is_yaml = file.extension().is_some_and(|name| name == "yaml" || name == "yml");
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (media, text) = if is_yaml {
            ("application/yaml", text)
        } else {
            let text = manifest::with_files(&text, folder).map_err(|why| {
                Failure::failed(format!("{}: not valid\n{}", file.display(), indented(&why.to_string())))
            })?;
            ("application/toml", text)
        };
        let path = format!("/apply?tenant={}&dry_run={}", segment(&tenant), apply.dry_run);
        let answer = client
            .post_text(&path, media, text)
            .await
            .map_err(|why| Failure::failed(format!("{}: {why}", file.display())))?;
        let changes = items(answer.get("changes").unwrap_or(&Value::Null));
        output::rows(format, &[("ACTION", Cell::At("/action")), ("WHAT", Cell::At("/what"))], &changes);
        let asks = changes.iter().any(|change| change.get("action").and_then(Value::as_str) == Some("request"));
        if apply.dry_run {
            output::note("nothing was changed: this was a dry run");
        } else if asks {
            output::note("asked for approval; a privacy officer decides: hilum approval list --status requested");
        }
    }
    Ok(Exit::Done)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
