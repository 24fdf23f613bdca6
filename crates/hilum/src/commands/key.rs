//! `hilum key …`: token signing keys, rotated with overlap.

use clap::Subcommand;
use serde_json::json;

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
                ("CREATED", Cell::Time("/created_at")),
                ("RETIRED", Cell::Time("/retired_at")),
            ];
            output::rows(format, &columns, &items(&client.get(&base).await?));
        }
        Key::Rotate => output::object(format, &client.post(&format!("{base}/rotate"), &json!({})).await?),
    }
    Ok(Exit::Done)
}
