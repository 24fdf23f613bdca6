//! `hilum policy …`: an organisation's policies, checked and tried before they are in force. Only `show` and `check --day` ask
//! the gate, for what is in force and for what it recorded.

mod replay;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use domain::{Class, Environment, IntegrationId, Millis, TaskName, TaskRef, TenantId};
use fhir::ResourceType;
use orgpolicy::{
    Action, Agent, Binding, DEFAULT_TEXT, Human, Outcome, Policies, Principal, Problem, Relationship, RequestFacts,
    SCHEMA_TEXT, SessionFacts, TEXT_BYTES_MAX,
};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::client::{Client, segment};
use crate::cli::{Exit, Failure};
use crate::output::{self, Cell, Column, Format};

/// Largest file of cases: some thousand.
const CASES_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// When a case says nothing: Monday, 5 January 2026, noon UTC.
const NOON: Millis = 1_767_614_400_000;

/// `hilum policy …`
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Validate a file of policies, and say of each what it is
    #[command(
        after_help = "Examples:  hilum policy check mercy.cedar\n           hilum policy check mercy.cedar -o json\n           hilum policy check mercy.cedar --day 2026-11-24\n\nWith --day it asks the policies what the gate was asked on that day (UTC), and prints which decisions would change\nand how. This takes a login that may open records; the reading is itself recorded.\n\nWhat policies may speak of, and what makes one stable: docs/policy.md"
    )]
    Check {
        /// File of Cedar policies
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Ask them again what was asked on this day
        #[arg(long, value_name = "DAY")]
        day: Option<String>,
    },
    /// Ask the policies about cases of your own; exit code 1 if any is answered otherwise than it says
    #[command(
        after_help = "Example:  hilum policy test mercy.cedar cases.toml\n\nA case says what differs from the usual and what is expected:\n\n  [[case]]\n  name = \"no export for clinical AI\"\n  class = \"clinical-ai\"\n  action = \"export\"\n  type = \"Patient\"\n  expect = \"deny\"\n  by = [\"hilum-bulk-is-for-analytics\"]\n\nEvery key of a case: docs/policy.md"
    )]
    Test {
        /// File of Cedar policies
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// File of cases, TOML
        #[arg(value_name = "CASES")]
        cases: PathBuf,
    },
    /// Print the policies in force for the tenant
    #[command(after_help = "Example:  hilum policy show > mercy.cedar")]
    Show,
    /// Print the schema: everything that policies may speak of
    #[command(after_help = "Example:  hilum policy schema > hilum.cedarschema")]
    Schema,
    /// Print the policies of a tenant that has none of its own
    #[command(after_help = "Example:  hilum policy default > mercy.cedar")]
    Default,
}

/// Runs one verb.
pub async fn run(client: &Result<Client, Failure>, command: Policy, format: Format) -> Result<Exit, Failure> {
    match command {
        Policy::Check { file, day: None } => check(&file, format),
        Policy::Check { file, day: Some(day) } => {
            let policies = policies(&file, format)?;
            let client = client.as_ref().map_err(|why| Failure::failed(why.to_string()))?;
            replay::run(client, &policies, &day, format).await
        }
        Policy::Test { file, cases } => test(&file, &cases, format),
        Policy::Show => {
            let client = client.as_ref().map_err(|why| Failure::failed(why.to_string()))?;
            show_in_force(client, format).await
        }
        Policy::Schema => {
            output::line(SCHEMA_TEXT.trim_end());
            Ok(Exit::Done)
        }
        Policy::Default => {
            output::line(DEFAULT_TEXT.trim_end());
            Ok(Exit::Done)
        }
    }
}

/// The text itself goes to standard output, so that it can be written to a file; what is to be known of it beside.
async fn show_in_force(client: &Client, format: Format) -> Result<Exit, Failure> {
    let tenant = client.tenant().await?;
    let answer = client.get(&format!("/tenants/{}/policy", segment(&tenant))).await?;
    if format == Format::Json {
        output::line(&answer.to_string());
        return Ok(Exit::Done);
    }
    output::line(answer.get("text").and_then(Value::as_str).unwrap_or_default().trim_end());
    if answer.get("policies").is_none_or(Value::is_null) {
        output::note("this text has mistakes, so the tenant is denied everything: `hilum policy check` says which");
    } else if answer.get("shipped") == Some(&Value::Bool(true)) {
        output::note(&format!("{tenant} has no policies of its own; these are shipped"));
    }
    Ok(Exit::Done)
}

const COLUMNS: [Column; 4] = [
    ("POLICY", Cell::At("/id")),
    ("EFFECT", Cell::At("/effect")),
    ("DECIDED FOR EACH", Cell::At("/stability")),
    ("READS", Cell::Of(|row| words(row.get("reads")))),
];

fn check(file: &Path, format: Format) -> Result<Exit, Failure> {
    let policies = policies(file, format)?;
    let rows: Vec<Value> = policies
        .infos()
        .map(|info| {
            json!({
                "id": info.id,
                "effect": info.effect.as_str(),
                "stability": info.stability.as_str(),
                "reads": info.reads,
            })
        })
        .collect();
    output::rows(format, &COLUMNS, &rows);
    Ok(Exit::Done)
}

fn policies(file: &Path, format: Format) -> Result<Policies, Failure> {
    let text = read(file, TEXT_BYTES_MAX as u64)?;
    Policies::parse(&text, 0).map_err(|problems| {
        let count = problems.len();
        problems.iter().for_each(|problem| show(file, problem, format));
        let mistakes = if count == 1 { "mistake" } else { "mistakes" };
        Failure::failed(format!("{}: {count} {mistakes}; nothing of it can be in force", file.display()))
    })
}

fn show(file: &Path, problem: &Problem, format: Format) {
    match format {
        Format::Table => output::note(&format!("{}:{problem}", file.display())),
        Format::Json => {
            let (line, column) = problem.place.unzip();
            let row = json!({ "line": line, "column": column, "policy": problem.policy, "problem": problem.what });
            output::line(&row.to_string());
        }
    }
}

/// What a file of cases holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    #[serde(default)]
    case: Vec<Case>,
}

/// One case: what is asked, and what is to be answered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default = "tenant")]
    tenant: TenantId,
    #[serde(default = "integration")]
    integration: IntegrationId,
    #[serde(default)]
    class: Class,
    #[serde(default = "production")]
    environment: Environment,
    #[serde(default = "task")]
    task: TaskName,
    #[serde(default = "first")]
    task_version: u32,
    #[serde(default = "treatment")]
    purpose_of_use: String,
    #[serde(default)]
    session: Option<String>,
    #[serde(default)]
    binding: Binding,
    #[serde(default)]
    bound: bool,
    #[serde(default)]
    actor: Principal,
    relationship: Option<Relationship>,
    person: Option<String>,
    mfa: Option<bool>,
    action: String,
    r#type: ResourceType,
    /// RFC 3339.
    at: Option<String>,
    address: Option<IpAddr>,
    /// Labels of a resource that is to be released; without them the case ends where the upstream would be asked.
    labels: Option<BTreeSet<String>>,
    expect: Expected,
    /// The policies that must be named, if it matters which.
    by: Option<BTreeSet<String>>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Allow,
    Deny,
}

fn tenant() -> TenantId {
    named("tenant")
}

fn integration() -> IntegrationId {
    named("integration")
}

fn task() -> TaskName {
    named("task")
}

/// A name that fits every grammar of names.
#[expect(clippy::expect_used, reason = "constant names, each read by the unit test below")]
fn named<T: std::str::FromStr<Err = domain::InvalidName>>(name: &str) -> T {
    name.parse().expect("fits")
}

fn production() -> Environment {
    Environment::Production
}

fn first() -> u32 {
    1
}

fn treatment() -> String {
    "TREAT".to_owned()
}

fn test(file: &Path, cases: &Path, format: Format) -> Result<Exit, Failure> {
    let policies = policies(file, format)?;
    let text = read(cases, CASES_BYTES_MAX)?;
    let wrong = |why: &dyn std::fmt::Display| Failure::failed(format!("{}: {why}", cases.display()));
    let Cases { case: all } = toml::from_str(&text).map_err(|why| wrong(&why))?;
    if all.is_empty() {
        return Err(wrong(&"no [[case]]: a test of nothing proves nothing"));
    }
    let (count, mut rows) = (all.len(), Vec::new());
    for case in all {
        let name = case.name.clone();
        rows.push(judge(&policies, case).map_err(|why| wrong(&format!("case `{name}`: {why}")))?);
    }
    let failed = rows.iter().filter(|row| row.get("passed") == Some(&Value::Bool(false))).count();
    output::rows(format, &RESULTS, &rows);
    if failed > 0 {
        return Err(Failure::failed(format!("{failed} of {count} cases failed")));
    }
    if format == Format::Table {
        output::note(&format!("{count} passed"));
    }
    Ok(Exit::Done)
}

const RESULTS: [Column; 5] = [
    ("CASE", Cell::At("/name")),
    ("", Cell::Of(|row| if row.get("passed") == Some(&Value::Bool(true)) { "passed" } else { "FAILED" }.to_owned())),
    ("EXPECTED", Cell::At("/expected")),
    ("ANSWERED", Cell::At("/answered")),
    ("BY", Cell::Of(|row| words(row.get("by")))),
];

fn judge(policies: &Policies, case: Case) -> Result<Value, String> {
    let action: Action = case.action.parse().map_err(|_| format!("`{}` is no action", case.action))?;
    if case.mfa.is_some() && case.person.is_none() {
        return Err("`mfa` is said of a `person`".to_owned());
    }
    let at =
        case.at.as_deref().map(|at| moment(at).ok_or_else(|| format!("`{at}` is no RFC 3339 time"))).transpose()?;
    let agent =
        Agent { tenant: case.tenant, integration: case.integration, class: case.class, environment: case.environment };
    let session = SessionFacts {
        id: case.session.unwrap_or_else(|| "0".repeat(32)),
        task: TaskRef { name: case.task, version: case.task_version },
        purpose_of_use: case.purpose_of_use,
        binding: case.binding,
        bound: case.bound,
        relationship: case.relationship,
        person: case.person.map(|id| Human { id, mfa: case.mfa }),
        actor: case.actor,
    };
    let address = case.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let request = RequestFacts { at: at.unwrap_or(NOON), address };
    let slice = policies.slice(&agent).ok_or("the integration does not fit the schema")?;
    let kind = case.r#type;
    let mut part = slice.lasting(&session, action, kind).and(slice.passing(&session, action, kind, &request));
    if let Some(labels) = &case.labels {
        part = part.and(slice.releasing(&session, action, kind, &request, labels));
    }
    let outcome = part.outcome();
    let answered = match &outcome {
        Outcome::Allow { .. } => "allow",
        Outcome::Deny { why, .. } => why.as_str(),
    };
    let by: BTreeSet<String> = outcome.policies().iter().cloned().collect();
    let expected = if case.expect == Expected::Allow { "allow" } else { "deny" };
    let passed =
        outcome.allows() == (case.expect == Expected::Allow) && case.by.as_ref().is_none_or(|named| *named == by);
    Ok(json!({ "name": case.name, "passed": passed, "expected": expected, "answered": answered, "by": by }))
}

fn moment(text: &str) -> Option<Millis> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Millis::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

fn words(list: Option<&Value>) -> String {
    let words: Vec<_> = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    words.join(", ")
}

fn read(path: &Path, most: u64) -> Result<String, Failure> {
    let fails = |why: std::io::Error| Failure::failed(format!("cannot read {}: {why}", path.display()));
    if std::fs::metadata(path).map_err(fails)?.len() > most {
        return Err(Failure::failed(format!("{} is larger than {most} bytes", path.display())));
    }
    std::fs::read_to_string(path).map_err(fails)
}

#[test]
fn a_case_says_only_what_differs() {
    let text = "[[case]]\nname = \"a\"\naction = \"export\"\ntype = \"Patient\"\nexpect = \"deny\"\n\
                by = [\"hilum-bulk-is-for-analytics\"]\n[[case]]\nname = \"b\"\naction = \"read\"\ntype = \"Patient\"\n\
                expect = \"deny\"\n";
    let cases: Cases = toml::from_str(text).unwrap();
    let policies = Policies::shipped(0).unwrap();
    let passed: Vec<_> = cases.case.into_iter().map(|case| judge(&policies, case).unwrap()["passed"].clone()).collect();
    assert_eq!(passed, [json!(true), json!(false)]);
    assert!(toml::from_str::<Cases>("[[case]]\nname = \"a\"\ncolour = \"red\"\n").is_err());
}
