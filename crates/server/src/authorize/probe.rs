//! Look-ups at the upstream before a session exists: does the patient exist, is there a care relationship.
//!
//! They take the same path as any request, `decide → send → verify`, under a session made for the look-up alone, so what the
//! upstream answers is believed no more here than anywhere else.

use std::collections::HashMap;

use domain::audit::Phi;
use domain::scope::Spelling;
use domain::{
    Actions, Budget, Filter, IntegrationId, Level, Limits, Millis, RelationshipRule, ResourceMatch, Scope, ScopeSet,
    Session, SessionId, Subject,
};
use fhir::params::ParamKind;
use fhir::references::Reference;
use fhir::request::{Method, Raw};
use fhir::{Id, ResourceType};
use parking_lot::Mutex;
use policy::{Ask, Consents, Decision, Finding, Released, Verdict};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use super::{Service, Tenant};
use crate::clock::random;
use crate::registry::Standing;

/// The window of the distinct-patient budget.
const HOUR: Millis = 3_600_000;
/// And of the budget per day.
const DAY: Millis = 24 * HOUR;
/// Life of the session a look-up is made under; it is never written down.
const PROBE_MILLIS: Millis = 60_000;

/// A look-up that proved nothing. Absent, foreign, unrelated and unreachable are one thing to the caller.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NotProved {
    /// The upstream has no such thing for this patient.
    Nothing,
    /// The upstream failed, or the look-up is not allowed to be made.
    Failed,
}

/// What proved a relationship.
#[derive(Debug)]
pub(super) struct Evidence {
    /// `Appointment/A1`.
    pub(super) resource: String,
}

/// Distinct patients looked up by each integration in the last hour and in the last day, on this node: look-ups that start no
/// session count too.
#[derive(Default)]
pub(super) struct LookUps(Mutex<HashMap<IntegrationId, [Seen; 2]>>);

/// When each patient, by tag, was looked up last.
type Seen = HashMap<[u8; 16], Millis>;

impl LookUps {
    /// Counts a look-up, or says which budget it would be one patient too many for.
    pub(super) fn count(
        &self,
        integration: &IntegrationId,
        patient: [u8; 16],
        limits: &Limits,
        now: Millis,
    ) -> Result<(), Budget> {
        let mut all = self.0.lock();
        let windows = all.entry(integration.clone()).or_default();
        let budgets = [
            (Budget::PatientsPerHour, HOUR, limits.patients_per_hour),
            (Budget::PatientsPerDay, DAY, limits.patients_per_day),
        ];
        for (seen, (budget, window, most)) in windows.iter_mut().zip(budgets) {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            if seen.len() >= most {
                seen.retain(|_, at| now.saturating_sub(*at) < window);
            }
            if seen.len() >= most && !seen.contains_key(&patient) {
                return Err(budget);
            }
        }
        for seen in windows {
            // Again or for the first time: the window counts from the last look-up.
            seen.insert(patient, now);
        }
        Ok(())
    }
}

impl Service {
    /// Whether the Patient exists at the upstream and is not replaced by another.
    pub(super) async fn patient_exists(
        &self,
        tenant: &Tenant,
        standing: &Standing,
        patient: &Id,
        now: Millis,
    ) -> Result<(), NotProved> {
        let released =
            self.look(tenant, standing, patient, ResourceType::PATIENT, None, Some(patient), None, now).await?;
        let body: Value = serde_json::from_slice(released.body()).map_err(|_| NotProved::Failed)?;
        let links = body.get("link").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let replaced = links.iter().any(|link| link.get("type").and_then(Value::as_str) == Some("replaced-by"));
        if replaced { Err(NotProved::Nothing) } else { Ok(()) }
    }

    /// Whether the Encounter exists and is this patient's.
    pub(super) async fn encounter_exists(
        &self,
        tenant: &Tenant,
        standing: &Standing,
        patient: &Id,
        encounter: &Id,
        now: Millis,
    ) -> Result<(), NotProved> {
        self.look(tenant, standing, patient, ResourceType::ENCOUNTER, None, Some(encounter), None, now).await.map(drop)
    }

    /// Whether the rule's search finds evidence of this patient, near enough in time.
    pub(super) async fn relationship(
        &self,
        tenant: &Tenant,
        standing: &Standing,
        rule: &RelationshipRule,
        patient: &Id,
        now: Millis,
    ) -> Result<Evidence, NotProved> {
        let kind = rule.evidence;
        let (filter, references) = criteria(rule).ok_or(NotProved::Failed)?;
        let query = rule.search.replace("{patient}", patient.as_str());
        let released = self.look(tenant, standing, patient, kind, filter, None, Some(&query), now).await?;
        let bundle: Value = serde_json::from_slice(released.body()).map_err(|_| NotProved::Failed)?;
        let entries = bundle.get("entry").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let proof = entries.iter().filter_map(|entry| entry.get("resource")).find(|resource| {
            resource.get("resourceType").and_then(Value::as_str) == Some(kind.name())
                && references.iter().all(|(name, wanted)| points_to(resource, &tenant.upstream, kind, name, wanted))
                && dated(resource, &rule.dated_by, rule.days_max, now)
        });
        let id = proof.and_then(|resource| resource.get("id")).and_then(Value::as_str).ok_or(NotProved::Nothing)?;
        Ok(Evidence { resource: format!("{kind}/{id}") })
    }

    /// One verified look-up: a read of `id`, or a search by `query`.
    #[expect(clippy::too_many_arguments, reason = "one private function behind three named ones")]
    async fn look(
        &self,
        tenant: &Tenant,
        standing: &Standing,
        patient: &Id,
        kind: ResourceType,
        filter: Option<Filter>,
        id: Option<&Id>,
        query: Option<&str>,
        now: Millis,
    ) -> Result<Released, NotProved> {
        let path = id.map_or_else(|| format!("/{kind}"), |id| format!("/{kind}/{id}"));
        let raw = Raw::plain(Method::Get, &path, query);
        let interaction = fhir::request::read(&raw).map_err(|_| NotProved::Failed)?;
        let snapshot = self.registry.snapshot();
        let rules = snapshot.rules(&tenant.id).ok_or(NotProved::Failed)?;
        let made = Made::new(standing, patient, kind, filter, now).ok_or(NotProved::Failed)?;
        let ask = Ask {
            now,
            rules,
            integration: &made.integration,
            approval: &standing.approval,
            profile: &made.profile,
            session: &made.session,
            interaction,
            page: None,
            proofs: Default::default(),
            // Whether there is a relationship is asked for the hospital, not for the integration.
            consents: Consents::none(),
            guard: None,
        };
        let permit = match policy::decide(ask) {
            Decision::Permit(permit) => permit,
            Decision::Write(_) => return Err(NotProved::Failed),
            Decision::Deny(denial) => {
                tracing::warn!(tenant = %tenant.id, reason = denial.reason.code(), "a look-up is not allowed");
                return Err(NotProved::Failed);
            }
        };
        let answered = self.broker.send(&tenant.id, permit).await;
        let Verdict::Released(released) = policy::verify(answered, &mut |_| None) else {
            return Err(NotProved::Failed);
        };
        for finding in released.findings() {
            if let Finding::ForeignMatch { kind, param } = finding {
                self.registry.poison(&tenant.id, *kind, param).await;
            }
        }
        if !released.findings().is_empty() {
            let says = format!("the upstream answered a look-up of {kind} with more than was asked");
            let phi = Phi { patients: vec![patient.to_string()], ..Phi::default() };
            self.audit.alert(&tenant.id, "upstream-ignored-filter", &says, phi).await;
        }
        match released.status() {
            200 if released.counts().released > 0 => Ok(released),
            200 | 404 => Err(NotProved::Nothing),
            _ => Err(NotProved::Failed),
        }
    }
}

/// What a look-up is decided by: the standing narrowed to one type, under a session of its own.
struct Made {
    integration: domain::Integration,
    profile: domain::TaskProfile,
    session: Session,
}

impl Made {
    fn new(standing: &Standing, patient: &Id, kind: ResourceType, filter: Option<Filter>, now: Millis) -> Option<Self> {
        let Standing { integration, approval, profile, .. } = standing;
        let actions = Actions::READ.or(Actions::SEARCH);
        let resource = ResourceMatch::One(kind);
        let scope = Scope { level: Level::Patient, resource, actions, filter, spelling: Spelling::V2 };
        let scopes = ScopeSet(vec![scope]);
        let session = Session {
            id: SessionId(random().ok()?),
            tenant: integration.tenant.clone(),
            integration: integration.id.clone(),
            epoch: integration.epoch,
            approval: approval.id,
            task: approval.task.clone(),
            purpose_of_use: profile.purpose_of_use.clone(),
            subject: Subject::Patient(patient.clone()),
            scopes: scopes.clone(),
            expires_at: now + PROBE_MILLIS,
            feed: 0,
            jti: String::new(),
            launch: domain::LaunchKind::Relationship,
            act: domain::Actor::default(),
            confirmation: None,
        };
        let mut integration = domain::Integration::clone(integration);
        integration.expected = [kind].into();
        let mut profile = domain::TaskProfile::clone(profile);
        profile.scopes = scopes;
        Some(Self { integration, profile, session })
    }
}

/// Reference criteria: parameter and wanted value.
type References = Vec<(String, String)>;

/// What each match must satisfy beyond the upstream's word: token criteria become the scope `verify` judges by, references
/// are compared below. Other parameters only narrow at the upstream. `None` when a criterion cannot be read.
fn criteria(rule: &RelationshipRule) -> Option<(Option<Filter>, References)> {
    let mut tokens = Vec::new();
    let mut references = Vec::new();
    for pair in rule.search.split('&').filter(|pair| !pair.contains("{patient}")) {
        let (name, _) = pair.split_once('=')?;
        let param = fhir::params::find(rule.evidence, name)?;
        match param.kind {
            ParamKind::Token if param.evaluable() => tokens.push(pair),
            ParamKind::Reference if param.evaluable() => {
                let filter: Filter = pair.parse().ok()?;
                references.extend(filter.pairs);
            }
            _ => {}
        }
    }
    let filter = if tokens.is_empty() { None } else { Some(tokens.join("&").parse().ok()?) };
    Some((filter, references))
}

/// A reference below the upstream's own base, or relative to it: another server's record of the same id is another record.
pub(super) fn local<'a>(reference: &'a str, base: &str) -> Option<(ResourceType, &'a str)> {
    match fhir::references::parse(reference) {
        Reference::Relative { kind, id, .. } => Some((kind, id)),
        Reference::Absolute { base: theirs, kind, id, .. } if theirs == base => Some((kind, id)),
        _ => None,
    }
}

pub(super) fn points_to(resource: &Value, base: &str, kind: ResourceType, name: &str, wanted: &str) -> bool {
    let Some(param) = fhir::params::find(kind, name) else { return false };
    let fits = |reference: &str| {
        let named = local(reference, base);
        named.is_some() && wanted.split(',').any(|wanted| local(wanted, base) == named)
    };
    param.paths.iter().any(|path| {
        let mut found = Vec::new();
        collect(resource, path.elements, &mut found);
        found.iter().filter_map(|value| value.get("reference")?.as_str()).any(fits)
    })
}

pub(super) fn collect<'a>(value: &'a Value, path: &[&str], out: &mut Vec<&'a Value>) {
    match (value, path.split_first()) {
        (Value::Array(items), _) => items.iter().for_each(|item| collect(item, path, out)),
        (value, None) => out.push(value),
        (value, Some((name, rest))) => {
            if let Some(inner) = value.get(*name) {
                collect(inner, rest, out);
            }
        }
    }
}

/// Whether a date at the path lies within `days` of `now`, in either direction. Dates less exact than a day prove nothing.
fn dated(resource: &Value, path: &str, days: u32, now: Millis) -> bool {
    let path: Vec<&str> = path.split('.').collect();
    let mut found = Vec::new();
    collect(resource, &path, &mut found);
    let most = Millis::from(days) * 24 * 3_600_000;
    found.iter().filter_map(|value| instant(value.as_str()?)).any(|at| at.abs_diff(now) <= most.unsigned_abs())
}

fn instant(text: &str) -> Option<Millis> {
    let at = if text.len() == 10 {
        time::Date::parse(text, format_description!("[year]-[month]-[day]")).ok()?.midnight().assume_utc()
    } else {
        OffsetDateTime::parse(text, &Rfc3339).ok()?
    };
    Millis::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_must_be_dated_near_now() {
        let now = instant("2026-11-23T00:00:00Z").unwrap();
        for (start, near) in [
            ("2026-11-24T09:00:00Z", true),
            ("2026-11-24T09:00:00.5+01:00", true),
            ("2026-11-24", true),
            ("2026-12-23", true),
            ("2026-12-24", false),
            ("2026-10-24", true),
            ("2026-10-23", false),
            ("2026-11", false),
            ("2026", false),
            ("soon", false),
        ] {
            let resource = serde_json::json!({"period": [{"start": start}]});
            assert_eq!(dated(&resource, "period.start", 30, now), near, "{start}");
        }
        assert!(!dated(&serde_json::json!({}), "period.start", 30, now));
    }

    #[test]
    fn criteria_that_can_be_judged_here_are() {
        let rule = |search: &str| RelationshipRule {
            evidence: ResourceType::APPOINTMENT,
            search: search.into(),
            dated_by: "start".into(),
            days_max: 30,
        };
        let (filter, references) =
            criteria(&rule("patient=Patient/{patient}&status=booked&location=Location/7&date=ge2026-01-01")).unwrap();
        assert_eq!(filter.unwrap().pairs, [("status".to_owned(), "booked".to_owned())]);
        assert_eq!(references, [("location".to_owned(), "Location/7".to_owned())]);
        assert!(criteria(&rule("patient={patient}&nonsense=1")).is_none());
        let resource = serde_json::json!({"participant": [{"actor": {"reference": "Location/17"}}]});
        let base = "https://ehr.example/fhir";
        assert!(!points_to(&resource, base, ResourceType::APPOINTMENT, "location", "Location/7"));
        let resource =
            serde_json::json!({"participant": [{"actor": {"reference": "https://ehr.example/fhir/Location/7"}}]});
        assert!(points_to(&resource, base, ResourceType::APPOINTMENT, "location", "Location/7"));
        let elsewhere = "https://other.example/fhir";
        assert!(!points_to(&resource, elsewhere, ResourceType::APPOINTMENT, "location", "Location/7"));
    }

    #[test]
    fn look_ups_are_counted_by_distinct_patient_hour_and_day() {
        let look_ups = LookUps::default();
        let id: IntegrationId = "agent-1".parse().unwrap();
        let limits = domain::Budgets { patients_per_day: Some(3), ..domain::Budgets::hourly(2) };
        let limits = limits.limits(domain::Class::ClinicalAi);
        let count = |patient: u8, now: Millis| look_ups.count(&id, [patient; 16], &limits, now);
        assert_eq!(count(1, 0), Ok(()));
        assert_eq!(count(2, 0), Ok(()));
        assert_eq!(count(1, 0), Ok(()), "the same patient again");
        assert_eq!(count(3, HOUR - 1), Err(Budget::PatientsPerHour));
        assert_eq!(count(3, HOUR), Ok(()));
        assert_eq!(count(4, HOUR), Err(Budget::PatientsPerDay));
        // One that is looked up again stays counted from then.
        assert_eq!(count(3, 2 * HOUR - 1), Ok(()));
        assert_eq!(count(2, 2 * HOUR - 1), Ok(()));
        assert_eq!(count(1, 2 * HOUR - 1), Err(Budget::PatientsPerHour));
        assert_eq!(count(4, DAY), Ok(()), "1 has left the day");
        assert_eq!(count(5, DAY + HOUR), Err(Budget::PatientsPerDay));
    }
}
