//! What may be written at all: rules that hold whatever a person asks for. Every mistake is found at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::approval::{APPROVAL_MILLIS_MAX, LaunchMode, RelationshipRule};
use domain::{
    Actions, ApprovalStatus, Budget, Class, Integration, Keys, Millis, PhiAccess, ResourceMatch, ServiceRole,
    TaskProfile, TenantId, Terms,
};
use fhir::ResourceType;
use fhir::request::{Interaction, Method, Raw};

use super::snapshot::Snapshot;

/// Shortest token life that leaves an agent time to work.
const TOKEN_SECONDS_MIN: u32 = 30;
/// Longest justification, purpose or reason.
const TEXT_MAX: usize = 2_000;
/// Oldest evidence that proves a relationship.
const DAYS_MAX: u32 = 366;
/// Letters that write.
const WRITES: [Actions; 3] = [Actions::CREATE, Actions::UPDATE, Actions::DELETE];

/// Mistakes in a registration, beyond those the domain finds.
pub(crate) fn integration(integration: &Integration, now: Millis) -> Vec<String> {
    let mut out = integration.mistakes(now);
    if let Keys::JwksUrl(url) = &integration.auth.keys
        && !fetchable(url)
    {
        let says = "`auth.keys.jwks_url` must be an https URL with a host, without user info, `#` and `\\`";
        // The domain finds `http:` by itself.
        if url.starts_with("https://") {
            out.push(says.into());
        }
    }
    out.extend(super::addresses::mistakes(integration));
    out
}

/// Whether a key set would ever be fetched from there (NEG-143). Where its host leads is judged at each fetch (NEG-140).
fn fetchable(url: &str) -> bool {
    let host = url.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
    crate::broker::acceptable(url) && host.is_some_and(|host| !host.is_empty())
}

/// Mistakes in a new profile version.
pub(crate) fn profile(profile: &TaskProfile) -> Vec<String> {
    let mut out = Vec::new();
    text(&mut out, "purpose", &profile.purpose);
    let code = &profile.purpose_of_use;
    if !(2..=16).contains(&code.len()) || !code.bytes().all(|byte| byte.is_ascii_uppercase()) {
        out.push("`purpose_of_use` must be an HL7 v3 PurposeOfUse code such as `TREAT` or `HOPERAT`".into());
    }
    if profile.version == 0 {
        out.push("`version` starts at 1".into());
    }
    if profile.scopes.is_empty() {
        out.push("`scopes` must name at least one scope; an empty set grants nothing".into());
    }
    for scope in &profile.scopes.0 {
        if scope.resource == ResourceMatch::Every {
            out.push(format!("`scopes`: `{scope}`: name the resource types (S1-20)"));
        }
    }
    for label in &profile.labels {
        let fits = (1..=40).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_graphic() && b != b'|');
        if !fits {
            out.push(format!("`labels`: `{label}` is not the code of a security label"));
        }
    }
    out
}

fn text(out: &mut Vec<String>, field: &str, value: &str) {
    if value.trim().is_empty() {
        out.push(format!("`{field}` must not be empty"));
    } else if value.len() > TEXT_MAX {
        out.push(format!("`{field}` is longer than {TEXT_MAX} bytes"));
    }
}

/// Mistakes in a request for approval: the class's rules, the registration's expectation and the terms' limits.
pub(crate) fn request(
    snapshot: &Snapshot,
    integration: &Integration,
    profile: &TaskProfile,
    terms: &Terms,
    justification: &str,
) -> Vec<String> {
    let mut out = Vec::new();
    text(&mut out, "justification", justification);
    let class = integration.class;
    if class == Class::Launcher {
        out.push("`class`: a launcher mints launch tickets; there is nothing to approve for it".into());
    }
    out.extend(starts(integration, terms));
    out.extend(population(class, profile, terms));
    for scope in &profile.scopes.0 {
        if let Err(why) = class.check_scope(scope) {
            out.push(format!("task {}: {why}", profile.reference()));
        }
    }
    let missing: Vec<_> = profile.types().difference(&integration.expected).map(|kind| kind.name()).collect();
    if !missing.is_empty() {
        out.push(format!(
            "task {} names types that `expected` of {} does not: {} (S2-04)",
            profile.reference(),
            integration.id,
            missing.join(", ")
        ));
    }
    let most = class.token_seconds_max();
    if !(TOKEN_SECONDS_MIN..=most).contains(&terms.token_seconds) {
        out.push(format!("`terms.token_seconds` must be {TOKEN_SECONDS_MIN} to {most} (S1-16)"));
    }
    for budget in Budget::ALL {
        let (name, most) = (budget.name(), budget.most());
        if terms.budgets.said(budget).is_some_and(|said| !(1..=most).contains(&said)) {
            out.push(format!("`terms.budgets.{name}` must be 1 to {most}"));
        }
    }
    if terms.launch.is_empty() {
        out.push("`terms.launch` must name at least one way a session may start".into());
    }
    // Whoever names the patient knows who it is, and would learn which surrogate stands for them.
    let by_surrogate = |role: &Arc<ServiceRole>| role.phi_access == PhiAccess::DeIdentifiedOnly;
    let role = snapshot.role_of(integration).flatten();
    if role.is_some_and(by_surrogate) && terms.launch.iter().any(|mode| matches!(mode, LaunchMode::Relationship(_))) {
        out.push(
            "`terms.launch`: with a role that is de-identified only, a launcher names the patient: use tickets".into(),
        );
    }
    out.extend(evidence(snapshot, integration, profile, terms));
    out
}

/// Who starts with a person needs somewhere to go back to, and who cannot be alone has no other way to start (REG-01, DESIGN, "Class rules").
fn starts(integration: &Integration, terms: &Terms) -> Vec<String> {
    let mut out = Vec::new();
    let class = integration.class;
    for mode in &terms.launch {
        let fits = match mode {
            LaunchMode::Ehr {} | LaunchMode::Standalone {} => {
                matches!(class, Class::ClinicalAi | Class::ClinicianApp | Class::PatientApp)
            }
            LaunchMode::Ticket {} | LaunchMode::Relationship(_) => class == Class::ClinicalAi,
            // Judged by the rules of a population.
            LaunchMode::Export(_) => true,
        };
        if !fits {
            out.push(format!("`terms.launch`: an integration of class {} does not start so", class.as_str()));
        }
    }
    let with_person = terms.launch.iter().any(|mode| matches!(mode, LaunchMode::Ehr {} | LaunchMode::Standalone {}));
    if with_person && integration.redirect_uris.is_empty() {
        out.push("`terms.launch`: a start with a person needs `redirect_uris` of the integration".into());
    }
    if terms.launch.contains(&LaunchMode::Ehr {}) && integration.launch_urls.is_empty() {
        out.push("`terms.launch`: `ehr` needs `launch_urls` of the integration, where the app is opened".into());
    }
    out
}

/// An export is for class analytics, and that class for nothing else: one population for each approval, and nothing of it is
/// changed (S1-12).
fn population(class: Class, profile: &TaskProfile, terms: &Terms) -> Vec<String> {
    let mut out = Vec::new();
    let exports = terms.launch.iter().filter(|mode| matches!(mode, LaunchMode::Export(_))).count();
    if class != Class::Analytics {
        if exports > 0 {
            out.push("`terms.launch`: `export` is for integrations of class analytics".into());
        }
        return out;
    }
    if exports != 1 || terms.launch.len() != 1 {
        out.push("`terms.launch` of an analytics integration is one `export`: of one Group, or of all-patients".into());
    }
    let reads = |scope: &domain::Scope| !WRITES.iter().any(|letter| scope.actions.contains(*letter));
    if !profile.scopes.0.iter().all(reads) || !profile.operations.is_empty() {
        let task = profile.reference();
        out.push(format!("task {task} has letters that write, or operations; an analytics integration only exports"));
    }
    out
}

/// A relationship is proved by records no integration can write (DESIGN, "How a session starts", 4).
fn evidence(snapshot: &Snapshot, integration: &Integration, profile: &TaskProfile, terms: &Terms) -> Vec<String> {
    let mut out = Vec::new();
    let mut rules = terms.launch.iter().filter_map(|mode| match mode {
        LaunchMode::Relationship(rule) => Some(rule),
        LaunchMode::Ticket {} | LaunchMode::Export(_) | LaunchMode::Ehr {} | LaunchMode::Standalone {} => None,
    });
    let rule = rules.next();
    if rules.next().is_some() {
        out.push("`terms.launch` holds more than one relationship rule".into());
    }
    let (writable, trusted) = live(snapshot, &integration.tenant);
    let own = writes(profile);
    if let Some(rule) = rule {
        out.extend(relationship(rule));
        if writable.contains(&rule.evidence) || own.contains(&rule.evidence) {
            out.push(format!(
                "`terms.launch`: an integration may write {}, so it proves no relationship",
                rule.evidence
            ));
        }
    }
    for kind in own.intersection(&trusted) {
        out.push(format!(
            "task {} may write {kind}, by which a relationship rule of this tenant proves care",
            profile.reference()
        ));
    }
    out
}

/// Types that a requested or approved task may write, and types that such a task's relationship rule trusts.
fn live(snapshot: &Snapshot, tenant: &TenantId) -> (BTreeSet<ResourceType>, BTreeSet<ResourceType>) {
    let (mut writable, mut trusted) = (BTreeSet::new(), BTreeSet::new());
    for held in snapshot.approvals(tenant) {
        let approval = &held.value;
        if !matches!(approval.status, ApprovalStatus::Requested | ApprovalStatus::Approved { .. }) {
            continue;
        }
        if let Some(profile) = snapshot.profile(tenant, &approval.task) {
            writable.extend(writes(profile));
        }
        for mode in &approval.terms.launch {
            if let LaunchMode::Relationship(rule) = mode {
                trusted.insert(rule.evidence);
            }
        }
    }
    (writable, trusted)
}

fn writes(profile: &TaskProfile) -> BTreeSet<ResourceType> {
    let writing = profile.scopes.0.iter().filter(|scope| WRITES.iter().any(|letter| scope.actions.contains(*letter)));
    writing
        .filter_map(|scope| match scope.resource {
            ResourceMatch::One(kind) => Some(kind),
            ResourceMatch::Every => None,
        })
        .collect()
}

fn relationship(rule: &RelationshipRule) -> Vec<String> {
    let mut out = Vec::new();
    if fhir::compartment::patient_paths(rule.evidence).is_empty() {
        out.push(format!("`terms.launch`: {} is not in the patient compartment", rule.evidence));
    }
    if !(1..=DAYS_MAX).contains(&rule.days_max) {
        out.push(format!("`terms.launch`: `days_max` must be 1 to {DAYS_MAX}"));
    }
    let element =
        !rule.dated_by.is_empty() && rule.dated_by.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    if !element {
        out.push("`terms.launch`: `dated_by` must name an element, e.g. `start` or `period.start`".into());
    }
    if rule.search.matches("{patient}").count() != 1 {
        out.push("`terms.launch`: `search` must hold `{patient}` exactly once".into());
        return out;
    }
    let query = rule.search.replace("{patient}", "probe");
    let path = format!("/{}", rule.evidence);
    let raw = Raw::plain(Method::Get, &path, Some(&query));
    match fhir::request::read(&raw) {
        Ok(Interaction::Search(search)) => {
            let bound = search.params.iter().any(|param| param.values.iter().any(|value| value.ends_with("probe")));
            if !bound {
                out.push("`terms.launch`: `{patient}` must be the value of a search parameter".into());
            }
            if search.params.len() < 2 {
                out.push(
                    "`terms.launch`: `search` must also be bound to a practitioner, location, group or status".into(),
                );
            }
            if !search.includes.is_empty() || !search.revincludes.is_empty() {
                out.push("`terms.launch`: `search` may not include other resources".into());
            }
        }
        Ok(_) => out.push("`terms.launch`: `search` is not a search".into()),
        Err(why) => out.push(format!("`terms.launch`: `search`: {}", why.what)),
    }
    out
}

/// Mistakes in an end date (S2-25).
pub(crate) fn until(integration: &Integration, until: Millis, now: Millis) -> Vec<String> {
    let mut out = Vec::new();
    if until <= now {
        out.push("`until` lies in the past".into());
    }
    if until > now.saturating_add(APPROVAL_MILLIS_MAX) {
        out.push("`until` is more than 400 days away; every approval is decided again within that time".into());
    }
    if until > integration.expires_at {
        out.push("`until` is later than the integration's own end".into());
    }
    out
}
