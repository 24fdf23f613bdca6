//! What de-identifying a searchset costs, against judging it and against a strict parse of the same bytes that keeps nothing.
//! Arguments: the file and the upstream's base in it. Prints one JSON object.

use std::time::{Duration, Instant};

use deid::{Profile, SeededSurrogates};
use fhir::ResourceType;
use fhir::json::Document;
use serde::de::IgnoredAny;
use serde_json::json;
use testkit::world::{World, release};

/// Time for all three; they take turns.
const TIME: Duration = Duration::from_secs(4);
/// The year by which ages are told.
const YEAR: u16 = 2026;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(base)) = (arguments.next(), arguments.next()) else {
        return Err("usage: deid-cost FILE BASE".into());
    };
    let bytes = std::fs::read(file)?;
    let mut world = World::new("patient/Patient.rs patient/Observation.rs patient/Encounter.rs patient/Condition.rs");
    world.rules.upstream_base = base;
    let profile = Profile::safe_harbor(sha256)?;
    let (mut verify, mut deid, mut parse) = (Vec::new(), Vec::new(), Vec::new());
    let (mut resources, mut left) = (0, 0);
    let began = Instant::now();
    while began.elapsed() < TIME || deid.len() < 5 {
        let permit = world.permit("Observation");
        let start = Instant::now();
        let answer = release(permit, &bytes);
        verify.push(start.elapsed());
        if answer.status() != 200 || answer.counts().filtered > 0 {
            return Err(format!("{} with {} left out", answer.status(), answer.counts().filtered).into());
        }
        // As the gate does it: once to see which surrogates are needed, and once with all of them.
        let start = Instant::now();
        let mut table = SeededSurrogates::new(1);
        (resources, left) = (0, 0);
        for _ in 0..2 {
            let document = Document::parse(answer.body())?;
            for entry in document.root().get("entry").iter().flat_map(|entries| entries.elements()) {
                let resource = entry.get("resource").ok_or("an entry without a resource")?;
                let kind: ResourceType = resource.get_str("resourceType").ok_or("no type")?.parse()?;
                let done = deid::deidentify(kind, resource, &profile, YEAR, &mut table)?;
                left += std::hint::black_box(done.bytes).len();
                resources += 1;
            }
        }
        deid.push(start.elapsed());
        let start = Instant::now();
        let IgnoredAny = std::hint::black_box(serde_json::from_slice(&bytes)?);
        parse.push(start.elapsed());
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e6
    };
    let (verify, deid, parse) = (median(&mut verify), median(&mut deid), median(&mut parse));
    println!(
        "{}",
        json!({"bytes": bytes.len(), "resources": resources / 2, "left": left / 2, "verify_micros": verify,
               "deid_micros": deid, "parse_micros": parse})
    );
    Ok(())
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    out
}
