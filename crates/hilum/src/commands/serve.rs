//! `hilum serve`: the gate, in the foreground, until it is told to stop.

use std::path::Path;

use server::app::StartError;
use server::clock::Clock;

use crate::cli::{Exit, Failure};
use crate::config;
use crate::output;

/// Reads the root key, saying what to do when it cannot be used.
pub fn root_key(path: &Path) -> Result<vault::RootKey, Failure> {
    let bytes = std::fs::read(path)
        .map_err(|why| Failure::configuration(format!("cannot read the root key `{}`: {why}", path.display())))?;
    vault::RootKey::parse(&bytes).map_err(|why| {
        Failure::configuration(format!("`{}` holds no root key: {why}; `hilum init` makes one", path.display()))
    })
}

/// Runs until SIGINT or SIGTERM.
pub async fn run(path: &Path) -> Result<Exit, Failure> {
    let config = config::read(path).map_err(|why| Failure::configuration(why.to_string()))?;
    let root = root_key(&config.root_key)?;
    let tenants: Vec<String> = config.settings.tenants.iter().map(|tenant| tenant.fhir_base()).collect();
    let running = server::app::start(config.settings, &root, Clock::system()).await.map_err(unstarted)?;
    output::note(&format!(
        "hilum {} is ready: FHIR and OAuth on {}, admin on {}",
        env!("CARGO_PKG_VERSION"),
        running.public,
        running.admin
    ));
    for base in tenants {
        output::note(&format!("  {base}"));
    }
    tokio::select! {
        () = stopped() => {}
        // No record, no data: a ledger that cannot be written to ends the process (spec/audit.md §9.3).
        () = running.parts.audit.failed() => {
            return Err(Failure::failed("the ledger's disk failed; nothing more can be recorded, so nothing more is served"));
        }
    }
    output::note("stopping: requests under way finish first");
    running.stop().await;
    Ok(Exit::Done)
}

/// Why the gate does not start, and what would help.
fn unstarted(why: StartError) -> Failure {
    match &why {
        StartError::Keys(_) => {
            Failure::configuration(format!("{why}; put back the root key that this data was made with"))
        }
        StartError::Listen(_) => Failure::failed(format!("{why}; change `listen`, or stop what listens there")),
        StartError::Ledger(_) if why.to_string().contains("another process") => {
            Failure::failed(format!("{why}; is `hilum serve` running already?"))
        }
        _ => Failure::failed(why.to_string()),
    }
}

/// Waits for SIGINT (ctrl-c) or SIGTERM.
pub async fn stopped() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
