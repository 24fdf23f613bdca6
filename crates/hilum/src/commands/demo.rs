//! `hilum demo`: a demonstration EHR, the gate in front of it, and a tour that is performed and checked.

mod hospital;
mod http;
mod show;
mod tour;

use crate::cli::{Exit, Failure};
use crate::output::{self, Format};

use self::hospital::{Hospital, Ports};

/// What `hilum demo` was told.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:  hilum demo                  the tour, then stay up for requests of your own (ctrl-c ends it)\n           hilum demo --tour -o json   the tour alone, one object per step; exits 1 if a step ends otherwise than it says\n\nThe EHR is a demonstration upstream with synthetic patients, not a FHIR server product."
)]
pub struct Demo {
    /// Only the tour; exits non-zero if a step does not end as it says
    #[arg(long)]
    pub tour: bool,
    /// Synthetic patients in the demonstration EHR (50 to 20000)
    #[arg(long, default_value_t = 50)]
    pub patients: u32,
    /// Seed of the synthetic patients: the same seed always makes the same people
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Starts everything in a temporary folder, tours, and stays up unless told otherwise.
pub async fn run(demo: Demo, format: Format) -> Result<Exit, Failure> {
    let ports = if demo.tour { Ports::Free } else { Ports::Usual };
    let hospital = Hospital::start(demo.seed, demo.patients, ports).await?;
    let outcome = toured(&hospital, &demo, format).await;
    hospital.stop().await;
    outcome
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
