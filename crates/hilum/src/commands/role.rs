//! `hilum role …`: roles of AI services (`ai_service_roles`), as they are in force.

use clap::Subcommand;

use super::client::{Client, items, segment};
use crate::cli::{Exit, Failure};
use crate::output::{self, Cell, Format};

/// `hilum role …`
#[derive(Debug, Subcommand)]
pub enum Role {
    /// List roles
    #[command(
        after_help = "Roles are declared in YAML:  hilum apply -f roles.yaml\nWhat each line narrows: docs/roles.md"
    )]
    List,
    /// Print a role and the integrations that name it
    #[command(after_help = "Example:  hilum role show clinical_ai_reader")]
    Show {
        /// Its name
        name: String,
    },
}

/// Runs one verb.
pub async fn run(client: &Client, command: Role, format: Format) -> Result<Exit, Failure> {
    let tenant = client.tenant().await?;
    let base = format!("/tenants/{}/roles", segment(&tenant));
    match command {
        Role::List => {
            let columns = [
                ("NAME", Cell::At("/name")),
                ("PHI ACCESS", Cell::At("/phi_access")),
                ("TIMEOUT", Cell::At("/session_timeout")),
                ("PERMISSIONS", Cell::At("/permissions")),
                ("INTEGRATIONS", Cell::At("/integrations")),
            ];
            output::rows(format, &columns, &items(&client.get(&base).await?));
        }
        Role::Show { name } => output::object(format, &client.get(&format!("{base}/{}", segment(&name))).await?),
    }
    Ok(Exit::Done)
}
