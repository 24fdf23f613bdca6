//! `hilum policy check --day`: what other policies would have made of the decisions of a day.

use std::net::{IpAddr, SocketAddr};

use domain::{Class, Environment, LaunchKind, TaskRef};
use fhir::ResourceType;
use orgpolicy::{
    Action, Agent, Binding, Human, Outcome, Policies, Principal, Relationship, RequestFacts, SessionFacts, Stability,
};
use serde_json::{Value, json};
use time::{Date, Duration};

use crate::cli::{Exit, Failure};
use crate::commands::client::{Client, segment};
use crate::output::{self, Cell, Column, Format};

/// Records in one page of the search.
const PAGE: usize = 1_000;
/// Most pages: a million records; of a busier day the newest.
const PAGES_MAX: usize = 1_000;

const COLUMNS: [Column; 6] = [
    ("RECORD", Cell::At("/id")),
    ("INTEGRATION", Cell::At("/integration")),
    ("ASKED", Cell::At("/asked")),
    ("WAS", Cell::At("/was")),
    ("WOULD BE", Cell::At("/would_be")),
    ("BY", Cell::Of(|row| super::words(row.get("by")))),
];

/// Asks the recorded questions of a day again and prints the answers that differ.
pub async fn run(client: &Client, policies: &Policies, day: &str, format: Format) -> Result<Exit, Failure> {
    let form = time::macros::format_description!("[year]-[month]-[day]");
    let day = Date::parse(day, form).map_err(|_| Failure::usage(format!("`{day}` is no day such as 2026-11-24")))?;
    let next = day.checked_add(Duration::DAY).ok_or_else(|| Failure::usage("there is no day after that"))?;
    let tenant = client.tenant().await?;
    let span = format!("from={day}T00:00:00Z&to={next}T00:00:00Z&phi=true&limit={PAGE}");
    let base = format!("/tenants/{}/audit?{span}", segment(&tenant));
    let (mut seen, mut unread, mut changes, mut before) = (0usize, 0usize, Vec::new(), None::<String>);
    for page in 0.. {
        let path = before.as_ref().map_or_else(|| base.clone(), |before| format!("{base}&before={}", segment(before)));
        let answer = client.get(&path).await?;
        for record in answer.get("records").and_then(Value::as_array).into_iter().flatten() {
            match again(policies, record) {
                Replayed::NotAsked => {}
                Replayed::Unread => unread += 1,
                Replayed::Same => seen += 1,
                Replayed::Changed(row) => {
                    seen += 1;
                    changes.push(row);
                }
            }
        }
        before = answer.get("next").and_then(Value::as_str).map(str::to_owned);
        if before.is_none() {
            break;
        }
        if page + 1 == PAGES_MAX {
            output::note("there are more records than are read; the oldest of the day are left out");
            break;
        }
    }
    output::rows(format, &COLUMNS, &changes);
    output::note(&format!("{seen} decisions of {day}, {} would change", changes.len()));
    if unread > 0 {
        output::note(&format!(
            "{unread} could not be asked again: their records do not open, or are of an older version"
        ));
    }
    if policies.infos().any(|info| info.stability == Stability::Answer) {
        output::note("policies that read labels are left out: labels of resources are not recorded");
    }
    Ok(Exit::Done)
}

enum Replayed {
    /// No record of a decision.
    NotAsked,
    /// A decision whose facts are not there.
    Unread,
    Same,
    Changed(Value),
}

fn again(policies: &Policies, record: &Value) -> Replayed {
    let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
    // A change has two records of one decision.
    if !text("kind").starts_with("fhir.") || text("phase") == "outcome" {
        return Replayed::NotAsked;
    }
    let Some(phi) = record.get("phi").filter(|phi| phi.is_object()) else { return Replayed::Unread };
    let asked = attribute(phi, "policy.asked");
    if asked.is_empty() {
        // Refused before policies were asked, or the log of an older version.
        return if text("outcome") == "denied" { Replayed::NotAsked } else { Replayed::Unread };
    }
    let Some(outcome) = judge(policies, record, phi, &asked) else { return Replayed::Unread };
    if text("outcome") == "denied" && !matches!(text("reason"), "policy" | "not-found") {
        // Refused for a reason of its own, whatever policies say.
        return Replayed::Same;
    }
    let was = if text("reason") == "policy" { "denied" } else { "allowed" };
    // It was a type that should have come along that was kept out, so that one is asked too.
    let kept_out = attribute(phi, "policy.kept-out");
    let outcome = match outcome {
        outcome if was == "denied" && outcome.allows() && is(phi, "policy.outcome", "allow") => {
            match kept_out.iter().map(|pair| judge(policies, record, phi, std::slice::from_ref(pair))).collect() {
                Some(others) => still_denied(others).unwrap_or(outcome),
                None => return Replayed::Unread,
            }
        }
        outcome => outcome,
    };
    let would_be = if outcome.allows() { "allowed" } else { "denied" };
    if was == would_be {
        return Replayed::Same;
    }
    let (id, integration) = (text("id"), text("integration"));
    let (by, asked) = (outcome.policies(), asked.join(", "));
    Replayed::Changed(
        json!({ "id": id, "integration": integration, "asked": asked, "was": was, "would_be": would_be, "by": by }),
    )
}

/// If every one of them is denied, the first; nothing kept out is nothing denied.
fn still_denied(outcomes: Vec<Outcome>) -> Option<Outcome> {
    let all = outcomes.iter().all(|outcome| !outcome.allows());
    outcomes.into_iter().next().filter(|_| all)
}

fn judge(policies: &Policies, record: &Value, phi: &Value, asked: &[String]) -> Option<Outcome> {
    let text = |name: &str| record.get(name).and_then(Value::as_str);
    let class: Class = serde_json::from_value(one(phi, "integration.class")?.into()).ok()?;
    let environment: Environment = serde_json::from_value(one(phi, "integration.environment")?.into()).ok()?;
    let agent = Agent {
        tenant: text("tenant")?.parse().ok()?,
        integration: text("integration")?.parse().ok()?,
        class,
        environment,
    };
    let (name, version) = one(phi, "session.task")?.split_once('@')?;
    // Records from before they were kept say nothing of these.
    let launch = one(phi, "session.launch").and_then(LaunchKind::read);
    let acts = |name: &str| values(phi, &format!("act.{name}")).next().map(str::to_owned);
    let session = SessionFacts {
        id: text("session")?.to_owned(),
        task: TaskRef { name: name.parse().ok()?, version: version.parse().ok()? },
        purpose_of_use: one(phi, "session.purpose_of_use")?.to_owned(),
        binding: Binding::GatewayEnforced,
        bound: one(phi, "session.bound") == Some("true"),
        relationship: launch.and_then(Relationship::of),
        person: acts("sub").filter(|_| launch.is_some_and(LaunchKind::has_person)).map(|id| Human { id, mfa: None }),
        actor: Principal { sub: acts("sub"), role: acts("subject_role"), organization: acts("organization_id") },
    };
    let peer = phi.get("peer")?.as_str()?;
    let address = peer.parse::<SocketAddr>().map(|peer| peer.ip()).or_else(|_| peer.parse::<IpAddr>()).ok()?;
    let request = RequestFacts { at: super::moment(text("time")?)?, address };
    let slice = policies.slice(&agent)?;
    let mut outcomes = Vec::new();
    for pair in asked {
        let (action, kind) = pair.split_once(' ')?;
        let (action, kind): (Action, ResourceType) = (action.parse().ok()?, kind.parse().ok()?);
        outcomes.push(slice.decide(&session, action, kind, &request));
    }
    let denies = outcomes.iter().position(|outcome| !outcome.allows());
    let at = denies.or_else(|| outcomes.len().checked_sub(1))?;
    outcomes.into_iter().nth(at)
}

/// The values of the attributes of this name.
fn values<'a>(phi: &'a Value, name: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = phi.get("attributes").and_then(Value::as_array).into_iter().flatten();
    let named = pairs.filter(move |pair| pair.get(0).and_then(Value::as_str) == Some(name));
    named.filter_map(|pair| pair.get(1)?.as_str())
}

fn one<'a>(phi: &'a Value, name: &'a str) -> Option<&'a str> {
    values(phi, name).next()
}

fn is(phi: &Value, name: &str, value: &str) -> bool {
    one(phi, name) == Some(value)
}

/// A list that is kept in parts.
fn attribute(phi: &Value, name: &str) -> Vec<String> {
    values(phi, name).flat_map(|part| part.split(", ")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_asked_again() {
        let record = |reason: &str, asked: &str| {
            json!({
                "id": "mercy/n/1", "kind": "fhir.search", "phase": "done", "outcome": "success", "reason": reason,
                "tenant": "mercy", "integration": "scheduler-1", "session": "00", "time": "2026-11-24T10:00:00.000000Z",
                "phi": { "peer": "10.1.2.3:4000", "attributes": [
                    ["integration.class", "clinical-ai"], ["integration.environment", "test"], ["policy.asked", asked],
                    ["session.purpose_of_use", "TREAT"], ["session.task", "scheduling@1"],
                ] },
            })
        };
        let shipped = Policies::shipped(0).unwrap();
        let asked = "create Observation, search Patient";
        assert!(matches!(again(&shipped, &record("", asked)), Replayed::Same));
        let Replayed::Changed(row) = again(&shipped, &record("policy", asked)) else { panic!("it was denied") };
        assert_eq!((row["was"].as_str(), row["would_be"].as_str()), (Some("denied"), Some("allowed")));
        let narrower = "@id(\"a\") permit (principal, action, resource);\
                        @id(\"b\") forbid (principal, action == Action::\"create\", resource)\
                        when { context.request.hour == 10 && principal.environment == Environment::\"test\" };";
        let narrower = Policies::parse(narrower, 1).unwrap();
        let Replayed::Changed(row) = again(&narrower, &record("", asked)) else { panic!("it would be denied") };
        assert_eq!(row["by"], json!(["b"]));
        assert!(matches!(again(&shipped, &record("", "fly Patient")), Replayed::Unread));
        let mut sealed = record("", asked);
        sealed["phi"] = Value::Null;
        assert!(matches!(again(&shipped, &sealed), Replayed::Unread));
    }
}
