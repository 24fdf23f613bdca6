//! What judging and rewriting a searchset costs, against a strict parse of the same bytes that keeps nothing.
//! Arguments: the file and the upstream's base in it. Prints one JSON object.

use std::time::{Duration, Instant};

use serde::de::IgnoredAny;
use serde_json::json;
use testkit::world::{World, release};

/// Time for each of the two; they take turns.
const TIME: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(base)) = (arguments.next(), arguments.next()) else {
        return Err("usage: verify-cost FILE BASE".into());
    };
    let bytes = std::fs::read(file)?;
    let mut world = World::new("patient/Patient.rs patient/Observation.rs patient/Encounter.rs patient/Condition.rs");
    world.rules.upstream_base = base;
    let (mut verify, mut parse) = (Vec::new(), Vec::new());
    let mut released = 0;
    let began = Instant::now();
    while began.elapsed() < TIME * 2 || verify.len() < 5 {
        let permit = world.permit("Observation");
        // The answer is copied in by `release`, which the gate does not have to do.
        let start = Instant::now();
        let copy = std::hint::black_box(bytes.clone());
        let copied = start.elapsed();
        drop(copy);
        let start = Instant::now();
        let answer = release(permit, &bytes);
        verify.push(start.elapsed().saturating_sub(copied));
        if answer.status() != 200 || answer.counts().filtered > 0 {
            return Err(format!("{} with {} left out", answer.status(), answer.counts().filtered).into());
        }
        released = answer.counts().released;
        let start = Instant::now();
        let IgnoredAny = std::hint::black_box(serde_json::from_slice(&bytes)?);
        parse.push(start.elapsed());
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e6
    };
    let (verify, parse) = (median(&mut verify), median(&mut parse));
    println!(
        "{}",
        json!({"bytes": bytes.len(), "resources": released, "verify_micros": verify, "parse_micros": parse})
    );
    Ok(())
}
