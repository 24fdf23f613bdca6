//! `hilum task …`: the documented profiles (S1-21).

use clap::Subcommand;

use super::client::{Client, items, segment};
use crate::cli::{Exit, Failure};
use crate::output::{self, Cell, Format};

/// `hilum task …`
#[derive(Debug, Subcommand)]
pub enum Task {
    /// List profiles and versions
    List,
    /// Print a documented profile
    #[command(after_help = "Example:  hilum task show scheduling")]
    Show {
        /// Its name
        name: String,
        /// A version other than the newest
        #[arg(long)]
        version: Option<u32>,
    },
}

/// Runs one verb.
pub async fn run(client: &Client, command: Task, format: Format) -> Result<Exit, Failure> {
    let tenant = client.tenant().await?;
    let base = format!("/tenants/{}/tasks", segment(&tenant));
    match command {
        Task::List => {
            let columns = [
                ("NAME", Cell::At("/name")),
                ("VERSION", Cell::At("/version")),
                ("PURPOSE OF USE", Cell::At("/purpose_of_use")),
                ("SCOPES", Cell::At("/scopes")),
                ("OPERATIONS", Cell::At("/operations")),
            ];
            output::rows(format, &columns, &items(&client.get(&base).await?));
        }
        Task::Show { name, version } => {
            let version = version.map_or_else(String::new, |version| format!("?version={version}"));
            output::object(format, &client.get(&format!("{base}/{}{version}", segment(&name))).await?);
        }
    }
    Ok(Exit::Done)
}
