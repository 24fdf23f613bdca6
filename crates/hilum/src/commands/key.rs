//! `hilum key …`: token signing keys, rotated with overlap.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, items, segment};
use crate::cli::{Exit, Failure};
use crate::output::{self, Cell, Format};

/// `hilum key …`
#[derive(Debug, Subcommand)]
pub enum Key {
    /// List token signing keys
    List,
    /// Make a new signing key; the old one verifies until every token it signed has expired
    Rotate,
}

/// Runs one verb.
pub async fn run(client: &Client, command: Key, format: Format) -> Result<Exit, Failure> {
    let tenant = client.tenant().await?;
    let base = format!("/tenants/{}/keys", segment(&tenant));
    match command {
        Key::List => {
            let columns = [
                ("KID", Cell::At("/kid")),
                ("CREATED (UTC)", Cell::Time("/created_at")),
                ("RETIRED (UTC)", Cell::Time("/retired_at")),
            ];
            output::rows(format, &columns, &items(&client.get(&base).await?));
        }
        Key::Rotate => {
            let answer = client.post(&format!("{base}/rotate"), &json!({})).await?;
            match format {
                Format::Json => output::object(format, &answer),
                Format::Table => output::line(&format!(
                    "tokens are signed with `{}` from now on; the old key verifies until every token it signed has expired",
                    answer.get("kid").and_then(Value::as_str).unwrap_or("?")
                )),
            }
        }
    }
    Ok(Exit::Done)
}
