//! `hilum deid …`: what of a resource would leave in a de-identified session.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use clap::Subcommand;
use deid::{Counts, Deidentified, Profile, Refusal, SeededSurrogates};
use fhir::ResourceType;
use fhir::json::{Document, Value, indent_into};
use serde_json::json;

use crate::cli::{Exit, Failure};
use crate::output::{self, Format};

/// The profile that needs no file.
const BUILT_IN: &str = "safe-harbor";
/// Largest file read: a preview is looked at by a person.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// `hilum deid …`
#[derive(Debug, Subcommand)]
pub enum Deid {
    /// Show a resource, or each one of a Bundle, before and after
    #[command(
        after_help = "Examples:  hilum deid preview patient.json\n           hilum deid preview bundle.json --profile narrower.json -o json\n           hilum deid preview - < patient.json\n\nNothing is sent anywhere. The surrogates shown are made up for the preview; a gate's are random and kept in its store.\nWhat the profiles keep and drop, and how to write one: docs/deidentification.md"
    )]
    Preview(Preview),
}

/// What `hilum deid preview` was told.
#[derive(Debug, clap::Args)]
pub struct Preview {
    /// File with one FHIR R4 resource as JSON; `-` reads standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// `safe-harbor`, or a file of rules
    #[arg(long, default_value = BUILT_IN, value_name = "PROFILE")]
    pub profile: PathBuf,
}

/// Runs one verb.
pub fn run(command: Deid, format: Format) -> Result<Exit, Failure> {
    let Deid::Preview(Preview { file, profile }) = command;
    let profile = read_profile(&profile)?;
    let bytes = read(&file)?;
    let document = Document::parse(&bytes)
        .map_err(|why| Failure::failed(format!("{}: not strict JSON: {why}", file.display())))?;
    let root = document.root();
    let year = this_year();
    let mut surrogates = SeededSurrogates::new(1);
    let resources = resources(root);
    let (count, mut refused) = (resources.len(), 0);
    for (number, resource) in resources.into_iter().enumerate() {
        let name = resource.get_str("resourceType").unwrap_or_default();
        let kind: ResourceType = name.parse().map_err(|_| {
            Failure::failed(format!("{}: resource {}: `{name}` is no R4 resource type", file.display(), number + 1))
        })?;
        let outcome = deid::deidentify(kind, resource, &profile, year, &mut surrogates);
        refused += usize::from(outcome.is_err());
        match format {
            Format::Json => output::line(&as_line(kind, resource, &outcome, &profile)),
            Format::Table => show(kind, (number + 1, count), resource, &outcome),
        }
    }
    if refused > 0 {
        return Err(Failure::failed(format!("{refused} of {count} refused: nothing of them would leave")));
    }
    Ok(Exit::Done)
}

fn read_profile(named: &Path) -> Result<Profile, Failure> {
    let profile =
        if named == Path::new(BUILT_IN) { Profile::safe_harbor(sha256) } else { Profile::parse(&read(named)?, sha256) };
    profile.map_err(|why| Failure::configuration(format!("{}: {why}", named.display())))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let fails = |why: std::io::Error| Failure::failed(format!("cannot read {}: {why}", path.display()));
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(fails)?)
    };
    let mut bytes = Vec::new();
    source.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(fails)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Failure::failed(format!("{} is larger than 16 MiB: preview a part of it", path.display())));
    }
    Ok(bytes)
}

fn this_year() -> u16 {
    let seconds = server::clock::Clock::system().now() / 1_000;
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|now| now.year().try_into().ok())
        .unwrap_or(u16::MAX)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()).for_each(|(to, from)| *to = *from);
    out
}

/// The resource, or those in its entries if it is a Bundle that has any.
fn resources(root: Value<'_>) -> Vec<Value<'_>> {
    let entries = root.get("entry").filter(|_| root.get("resourceType").is_some_and(|name| name.is_str("Bundle")));
    let inner: Vec<_> = entries.iter().flat_map(Value::elements).filter_map(|entry| entry.get("resource")).collect();
    if inner.is_empty() { vec![root] } else { inner }
}

fn counted(counts: &Counts) -> [(&'static str, usize); 7] {
    [
        ("kept", counts.kept),
        ("known", counts.known),
        ("generalized", counts.generalized),
        ("surrogates", counts.surrogates),
        ("substituted", counts.substituted),
        ("dropped", counts.dropped),
        ("not understood", counts.not_understood),
    ]
}

fn show(kind: ResourceType, place: (usize, usize), resource: Value<'_>, outcome: &Result<Deidentified, Refusal>) {
    output::line(&output::styled("1", &format!("{kind}, {} of {}", place.0, place.1)));
    output::line(&output::styled("1", "before"));
    output::line(&indented(resource.raw().as_bytes()));
    output::line(&output::styled("1", "after"));
    match outcome {
        Err(why) => output::line(&format!("refused: {why}\n")),
        Ok(done) => {
            output::line(&indented(&done.bytes));
            let counts = counted(&done.report.counts).into_iter().filter(|(_, count)| *count > 0);
            let counts: Vec<_> = counts.map(|(what, count)| format!("{count} {what}")).collect();
            output::line(&format!("values: {}\n", counts.join(", ")));
        }
    }
}

fn indented(json: &[u8]) -> String {
    let mut out = Vec::new();
    indent_into(&mut out, json);
    String::from_utf8_lossy(&out).into_owned()
}

/// One line with both texts as they are: nothing of them passes through a parser that could alter a number.
fn as_line(
    kind: ResourceType,
    resource: Value<'_>,
    outcome: &Result<Deidentified, Refusal>,
    profile: &Profile,
) -> String {
    let digest: String = profile.digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let before = compact(resource.raw());
    let head = format!(r#"{{"type":"{kind}","profile":"{digest}","before":{before}"#);
    match outcome {
        Err(why) => format!(r#"{head},"refused":{}}}"#, json!(why.to_string())),
        Ok(done) => {
            let counts: serde_json::Map<String, serde_json::Value> = counted(&done.report.counts)
                .into_iter()
                .map(|(what, count)| (what.replace(' ', "_"), json!(count)))
                .collect();
            let after = String::from_utf8_lossy(&done.bytes);
            format!(r#"{head},"after":{after},"values":{}}}"#, serde_json::Value::Object(counts))
        }
    }
}

/// Strict JSON without the blanks between its parts.
fn compact(json: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    let keep = |c: &char| {
        let inside = quoted;
        quoted = if inside { escaped || *c != '"' } else { *c == '"' };
        escaped = inside && !escaped && *c == '\\';
        inside || !matches!(c, ' ' | '\t' | '\r' | '\n')
    };
    json.chars().filter(keep).collect()
}

#[test]
fn compacting_takes_nothing_but_blanks() {
    for (text, expected) in [
        ("{ \"a b\" : [ 1.10 , \"c \\\" d\" ] }\n", "{\"a b\":[1.10,\"c \\\" d\"]}"),
        (r#"{ "a\\" : 1 }"#, r#"{"a\\":1}"#),
    ] {
        assert_eq!(compact(text), expected);
    }
}
