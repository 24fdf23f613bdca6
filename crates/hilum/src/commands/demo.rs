//! `hilum demo`: a demonstration EHR, the gate in front of it, and a tour that is performed and checked.

mod apps;
mod fixtures;
mod hospital;
mod http;
mod show;
mod tour;
mod walk;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::cli::{Exit, Failure};
use crate::output::{self, Format};

use self::hospital::{Hospital, Ports};

/// What `hilum demo` was told.
#[derive(Debug, clap::Args)]
#[command(after_help = after_help())]
pub struct Demo {
    /// Only the tour; exits non-zero if a step does not end as it says
    #[arg(long)]
    pub tour: bool,
    /// No tour: write what `hilum conformance` must know of its clients and people to FILE, and stay up
    #[arg(long, value_name = "FILE", conflicts_with = "tour")]
    pub conformance: Option<PathBuf>,
    /// Only the demonstration EHR, at this loopback address; no gate
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["tour", "conformance"])]
    pub ehr: Option<SocketAddr>,
    /// Synthetic patients in the demonstration EHR (50 to 20000)
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(50..=20_000))]
    pub patients: u32,
    /// Seed of the synthetic patients: the same seed always makes the same people
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Start the demonstration EHR with nothing in it, to be filled with PUT or a transaction
    #[arg(long, requires = "ehr", conflicts_with_all = ["patients", "seed"])]
    pub empty: bool,
    /// Have the demonstration EHR misbehave so (see below); may come several times
    #[arg(long, requires = "ehr", value_name = "NAME[=VALUE]")]
    pub fault: Vec<demo_ehr::Fault>,
    /// Register the SMART apps of this JSON file (see below); the FHIR base then wants the tokens they get by a launch
    #[arg(long, requires = "ehr", value_name = "FILE")]
    pub ehr_client: Option<PathBuf>,
}

/// Largest file of apps: far more than a person registers by hand.
const CLIENT_BYTES_MAX: u64 = 1024 * 1024;

/// Examples, and every fault with what it takes and does.
fn after_help() -> String {
    let mut text = "Examples:\n  hilum demo                        the tour, then stay up for requests of your own\n  \
        hilum demo --tour -o json         the tour alone, one object per step\n  \
        hilum demo --conformance c.toml   for `hilum conformance URL --with c.toml`\n  \
        hilum demo --ehr 127.0.0.1:8080   the EHR alone, to put a gate of your own in front of\n  \
        hilum demo --ehr 127.0.0.1:8080 --fault foreign-match=Patient/pat-007 --fault odd-headers\n  \
        hilum demo --ehr 127.0.0.1:8080 --ehr-client app.json   an EHR that launches an app\n\n\
        An app, or a list of them, in the file (jwks in place of jwks_url for keys by value; loopback only):\n  \
        {\"client_id\": \"my-app\", \"jwks_url\": \"http://127.0.0.1:9000/jwks.json\",\n   \
        \"redirect_uris\": [\"http://127.0.0.1:9000/callback\"], \"launch_url\": \"http://127.0.0.1:9000/launch\"}\n\n\
        The EHR is a demonstration upstream with synthetic patients, not a FHIR server product.\n\n\
        Faults, which can also be switched while it runs: PUT one a line to http://ADDRESS/faults,\n\
        none to switch all off.\n"
        .to_owned();
    for demo_ehr::Named { name, takes, default, does } in demo_ehr::named() {
        let name = takes.map_or_else(|| name.to_owned(), |takes| format!("{name}={takes}"));
        let default = default.map_or_else(String::new, |default| format!(" [{default}]"));
        text.push_str(&format!("  {name:36}{does}{default}\n"));
    }
    text
}

/// Starts everything in a temporary folder, tours, and stays up unless told otherwise.
pub async fn run(demo: Demo, format: Format) -> Result<Exit, Failure> {
    if let Some(address) = demo.ehr {
        return ehr_alone(&demo, address, format).await;
    }
    let ports = if demo.tour { Ports::Free } else { Ports::Usual };
    let hospital = Hospital::start(demo.seed, demo.patients, ports, demo.conformance.as_deref()).await?;
    let outcome = match &demo.conformance {
        Some(file) => {
            waiting(&hospital, file, format).await;
            Ok(Exit::Done)
        }
        None => toured(&hospital, &demo, format).await,
    };
    hospital.stop().await;
    outcome
}

/// The EHR without a gate, until it is told to stop. It asks nobody who they are, so it stays on this machine.
async fn ehr_alone(demo: &Demo, address: SocketAddr, format: Format) -> Result<Exit, Failure> {
    if !address.ip().is_loopback() {
        return Err(Failure::usage(format!("`--ehr {address}`: the demonstration EHR listens on loopback only")));
    }
    let patients = usize::try_from(demo.patients).unwrap_or(demo_ehr::PATIENTS_MIN);
    let ehr = if demo.empty {
        demo_ehr::DemoEhr::from_resources(Vec::new())
    } else {
        demo_ehr::DemoEhr::new(demo.seed, patients, server::clock::Clock::system().now())
    };
    let apps = demo.ehr_client.as_deref().map(apps).transpose()?.unwrap_or_default();
    let launches = !apps.is_empty();
    let ehr = apps.into_iter().fold(ehr, demo_ehr::DemoEhr::smart_client);
    let ehr = if launches { ehr.auth(demo_ehr::Auth::SmartLaunch) } else { ehr };
    let (patients, resources) = (ehr.resources("Patient").len(), ehr.len());
    let ehr = ehr
        .switchboard(demo_ehr::Switchboard::Outside)
        .start(address)
        .await
        .map_err(|why| Failure::failed(format!("cannot listen on {address}: {why}; choose another address")))?;
    ehr.faults.set(demo.fault.iter().cloned());
    let faults = demo.fault.len();
    let launch = ehr.launch_page();
    match format {
        Format::Json => {
            let told =
                serde_json::json!({ "ehr": ehr.base_url, "patients": patients, "faults": faults, "launch": launch });
            output::line(&told.to_string());
        }
        Format::Table if demo.empty => {
            output::line(&format!("demonstration EHR at {}, with nothing in it", ehr.base_url))
        }
        Format::Table => output::line(&format!(
            "demonstration EHR at {}: {patients} synthetic patients, {resources} resources (pat-001, pat-002, …)",
            ehr.base_url
        )),
    }
    if faults > 0 {
        output::note(&format!("it misbehaves in {faults} of the ways that `hilum demo --help` lists"));
    }
    if let Some(launch) = launch {
        output::note(&format!("apps are launched at {launch}, and FHIR wants the tokens they get"));
    }
    output::note("it asks nobody who they are; ctrl-c ends it");
    super::serve::stopped().await;
    Ok(Exit::Done)
}

/// The SMART apps of a file.
fn apps(file: &Path) -> Result<Vec<demo_ehr::SmartClient>, Failure> {
    let name = file.display();
    let wrong = |says: String| Failure::usage(format!("`--ehr-client {name}`: {says}"));
    let size = std::fs::metadata(file).map_err(|why| wrong(why.to_string()))?.len();
    if size > CLIENT_BYTES_MAX {
        return Err(wrong("it is too large".to_owned()));
    }
    let text = std::fs::read(file).map_err(|why| wrong(why.to_string()))?;
    let value = serde_json::from_slice(&text).map_err(|why| wrong(why.to_string()))?;
    let apps = demo_ehr::SmartClient::from_json(&value).map_err(|why| wrong(why.to_string()))?;
    if apps.is_empty() { Err(wrong("it lists no app".to_owned())) } else { Ok(apps) }
}

/// Stays up for the conformance suite.
async fn waiting(hospital: &Hospital, file: &Path, format: Format) {
    match format {
        Format::Json => output::line(&show::addresses(hospital).to_string()),
        Format::Table => {
            show::opening(hospital, format);
            show::people(hospital);
            output::line(&format!("hilum conformance {} --with {}", hospital.fhir(), file.display()));
            output::line(&format!(
                "hilum conformance {} --with {}",
                hospital.fhir(),
                fixtures::bound_file(file).display()
            ));
        }
    }
    output::note("ctrl-c ends it");
    super::serve::stopped().await;
}

async fn toured(hospital: &Hospital, demo: &Demo, format: Format) -> Result<Exit, Failure> {
    show::opening(hospital, format);
    let failed = tour::walk(hospital, format).await?;
    show::closing(failed, format);
    if !demo.tour {
        show::staying(hospital, format).await?;
        super::serve::stopped().await;
        output::note("stopping; the temporary folder is removed");
    }
    Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
}
