//! What the API shows, with times as RFC 3339. No patient id is ever among it.

use domain::approval::LaunchMode;
use domain::{
    Approval, ApprovalStatus, Integration, Keys, Limits, PhiAccess, Role, RoleName, ServiceRole, TaskProfile, TenantId,
};
use fhir::request::ExportOf;
use serde::Serialize;
use serde_json::{Value, json};
use store::{FilterRow, PersonRow, RegistrationRow, RoleGrant, SessionRow};
use utoipa::ToSchema;

use super::read::{show_time, status_word};
use crate::registry::plan::Line;
use crate::registry::snapshot::{Held, Snapshot};

/// A list, newest first or by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Items {
    /// The entries.
    pub items: Vec<Value>,
}

/// A list of anything the API shows.
pub(super) fn items(all: impl IntoIterator<Item = impl Serialize>) -> Value {
    let items = all.into_iter().filter_map(|item| serde_json::to_value(item).ok()).collect();
    json!(Items { items })
}

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TenantShape {
    /// Its id.
    pub id: String,
    /// For people.
    pub name: String,
    /// OAuth issuer.
    pub issuer: String,
    /// FHIR base as clients see it.
    pub fhir: String,
}

/// A registered integration. `PUT` takes the same members, without `tenant`, `status`, `epoch` and `approvals`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct IntegrationShape {
    /// `client_id`.
    pub id: String,
    /// Its tenant.
    pub tenant: String,
    /// For people.
    pub name: String,
    /// `clinical-ai`, `clinician-app`, `analytics`, `patient-app` or `launcher`.
    pub class: String,
    /// `production` or `test`.
    #[schema(value_type = String)]
    pub environment: Value,
    /// `active`, `suspended` or `ended`.
    #[schema(value_type = String)]
    pub status: Value,
    /// `business` and `technical`: two different people.
    #[schema(value_type = Object)]
    pub owners: Value,
    /// Who builds or runs it.
    pub vendor: String,
    /// Why it exists.
    pub purpose: String,
    /// Classes of data it handles.
    pub data_classes: Vec<String>,
    /// FHIR types it is expected to touch.
    pub expected: Vec<String>,
    /// When it ends by the clock (RFC 3339, or a date on input).
    pub expires_at: String,
    /// Whom to call.
    pub revocation_contact: String,
    /// `keys` (`jwks` or `jwks_url`), `algorithms`, `audience`.
    #[schema(value_type = Object)]
    pub auth: Value,
    /// For launches with a person.
    pub redirect_uris: Vec<String>,
    /// For launchers: whom they may start.
    pub launches: Vec<String>,
    /// Where an EHR launch leads to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub launch_urls: Vec<String>,
    /// Web origins of its pages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// Origins that may show Hilum's pages in a frame.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frame_ancestors: Vec<String>,
    /// `par`, `dpop`, `mtls`.
    pub demands: Value,
    /// `own` or `any`.
    pub introspects: Value,
    /// The role that narrows it further.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Grows with every change that ends what was issued before.
    pub epoch: u64,
    /// Its approvals, newest request last.
    pub approvals: Vec<ApprovalShape>,
}

/// A request to be registered. All of `metadata` is its sender's word.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RegistrationShape {
    /// The `client_id` it was given.
    pub id: String,
    /// `requested`, `rejected` or `registered`.
    pub status: String,
    /// What it calls itself.
    pub name: String,
    /// When it was asked.
    pub created_at: String,
    /// When it is forgotten.
    pub expires_at: String,
    /// When people decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<String>,
    /// Client metadata (RFC 7591 §2).
    #[schema(value_type = Object)]
    pub metadata: Value,
}

pub(super) fn registration(row: &RegistrationRow) -> RegistrationShape {
    let metadata: Value = serde_json::from_str(&row.body).unwrap_or_default();
    RegistrationShape {
        id: row.id.to_string(),
        status: row.state.as_str().to_owned(),
        name: metadata.get("client_name").and_then(Value::as_str).unwrap_or_default().to_owned(),
        created_at: show_time(row.created_at),
        expires_at: show_time(row.expires_at),
        decided_at: row.decided_at.map(show_time),
        metadata,
    }
}

/// An approval: what is asked, in plain words, and what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ApprovalShape {
    /// Its id.
    pub id: String,
    /// Its tenant.
    pub tenant: String,
    /// For which integration.
    pub integration: String,
    /// For which task, e.g. `scheduling@1`.
    pub task: String,
    /// `requested`, `approved`, `suspended`, `rejected` or `ended`.
    pub status: String,
    /// When it ends by the clock; only while approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Who decided last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<String>,
    /// Who approved first, where it takes two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_approved_by: Option<String>,
    /// Why it is suspended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who asked.
    pub requested_by: String,
    /// When.
    pub requested_at: String,
    /// Why.
    pub justification: String,
    /// Launch modes, token life, budgets.
    #[schema(value_type = Object)]
    pub terms: Value,
    /// The scopes it allows.
    pub scopes: String,
    /// What it allows, in words a privacy officer reads.
    pub allows: Vec<String>,
    /// SHA-256 over everything that may change its risk; send it with `approve` to approve exactly this.
    pub digest: String,
    /// Whether the digest fits what it approves now.
    pub fits: bool,
}

/// One version of a task profile.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TaskShape {
    /// Its name.
    pub name: String,
    /// Its version; versions never change.
    pub version: u32,
    /// What the task is for.
    pub purpose: String,
    /// HL7 v3 PurposeOfUse.
    pub purpose_of_use: String,
    /// The most a session on it may hold.
    pub scopes: String,
    /// FHIR operations it may use.
    pub operations: Vec<&'static str>,
    /// Security labels whose resources it may see.
    pub labels: Vec<String>,
    /// All of it in words.
    pub allows: Vec<String>,
}

/// A role of AI services, in the words of `ai_service_roles`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ServiceRoleShape {
    /// Its name.
    pub name: String,
    /// What its services may ask for; what nothing stands behind yet grants nothing.
    pub permissions: Vec<String>,
    /// `de-identified-only` or `identified`.
    pub phi_access: &'static str,
    /// The longest life of a session, e.g. `15m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_timeout: Option<String>,
    /// Whether a second proof of who is asking is needed.
    pub mfa_required: bool,
    /// Whether data may be had in bulk.
    pub data_export: bool,
    /// The only environment its services may run in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The integrations that name it.
    pub integrations: Vec<String>,
}

/// A session. The patient is sealed in the store and not shown here.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionShape {
    /// `sid`.
    pub id: String,
    /// Its tenant.
    pub tenant: String,
    /// Its integration.
    pub integration: String,
    /// Under which approval.
    pub approval: String,
    /// On which task.
    pub task: String,
    /// `ticket` or `relationship`.
    #[schema(value_type = String)]
    pub launch: Value,
    /// The granted scope.
    pub scope: String,
    /// When it started.
    pub created_at: String,
    /// When its token expires.
    pub expires_at: String,
    /// When it was ended before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
}

/// A person.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PersonShape {
    /// Who.
    pub id: String,
    /// For people.
    pub name: String,
    /// Roles, e.g. `operator in mercy`, `auditor in every tenant`.
    pub roles: Vec<String>,
    /// When the account was made.
    pub created_at: String,
    /// When it was switched off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<String>,
}

/// What is known of an upstream's filtering by one search parameter.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FilterShape {
    /// Resource type.
    pub kind: String,
    /// Search parameter.
    pub param: String,
    /// `declared`, `proved` or `poisoned`.
    pub state: String,
}

/// One line of what a manifest does.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LineShape {
    /// `create`, `update`, `unchanged`, `suspend` or `request`.
    pub action: String,
    /// To what.
    pub what: String,
}

pub(super) fn integration(snapshot: &Snapshot, held: &Held<Integration>) -> IntegrationShape {
    let one = &held.value;
    let value = |value: serde_json::Result<Value>| value.unwrap_or_default();
    let mut auth = value(serde_json::to_value(&one.auth));
    // Shown as JSON, kept as text.
    if let Keys::Jwks(text) = &one.auth.keys
        && let Some(member) = auth.pointer_mut("/keys/jwks")
    {
        *member = serde_json::from_str(text).unwrap_or_default();
    }
    IntegrationShape {
        id: one.id.to_string(),
        tenant: one.tenant.to_string(),
        name: one.name.clone(),
        class: one.class.as_str().to_owned(),
        environment: value(serde_json::to_value(one.environment)),
        status: value(serde_json::to_value(one.status)),
        owners: value(serde_json::to_value(&one.owners)),
        vendor: one.vendor.clone(),
        purpose: one.purpose.clone(),
        data_classes: one.data_classes.iter().cloned().collect(),
        expected: one.expected.iter().map(ToString::to_string).collect(),
        expires_at: show_time(one.expires_at),
        revocation_contact: one.revocation_contact.clone(),
        auth,
        redirect_uris: one.redirect_uris.clone(),
        launch_urls: one.launch_urls.clone(),
        origins: one.origins.clone(),
        frame_ancestors: one.frame_ancestors.clone(),
        demands: value(serde_json::to_value(&one.demands)),
        introspects: value(serde_json::to_value(one.introspects)),
        launches: one.launches.iter().map(ToString::to_string).collect(),
        role: one.role.as_ref().map(ToString::to_string),
        epoch: one.epoch,
        approvals: snapshot.approvals_of(&one.id).into_iter().map(|held| approval(snapshot, &held.value)).collect(),
    }
}

pub(super) fn approval(snapshot: &Snapshot, one: &Approval) -> ApprovalShape {
    let (until, by, at, reason) = match &one.status {
        ApprovalStatus::Requested => (None, None, None, None),
        ApprovalStatus::Approved { by, at, until } => (Some(*until), Some(by), Some(*at), None),
        ApprovalStatus::Suspended { reason, at } => (None, None, Some(*at), Some(reason.clone())),
        ApprovalStatus::Rejected { by, at } | ApprovalStatus::Ended { by, at } => (None, Some(by), Some(*at), None),
    };
    let profile = snapshot.profile(&one.tenant, &one.task);
    let mut allows = profile.map(|profile| words(profile)).unwrap_or_default();
    allows.extend(one.terms.launch.iter().map(|mode| match mode {
        LaunchMode::Ticket {} => "a registered launcher names the patient".to_owned(),
        LaunchMode::Ehr {} => "the EHR launches it and says which patient".to_owned(),
        LaunchMode::Standalone {} => {
            "a person signs in and picks one of the patients that the tenant's rule gives them".to_owned()
        }
        LaunchMode::Export(rule) => match &rule.of {
            ExportOf::Group(id) => format!("export in bulk the records of every member of Group/{id}"),
            ExportOf::AllPatients => "export in bulk the records of ALL PATIENTS".to_owned(),
        },
        LaunchMode::Relationship(rule) => format!(
            "it names the patient itself, after a {} within {} days proves the care relationship",
            rule.evidence, rule.days_max
        ),
    }));
    allows.push(format!(
        "sessions of at most {} s, at most {} patients in an hour",
        one.terms.token_seconds, one.terms.budgets.patients_per_hour
    ));
    let integration = snapshot.held_integration(&one.tenant, &one.integration);
    allows.extend(integration.and_then(|held| narrowed(snapshot, &held.value)));
    allows.extend(integration.map(|held| limited(&one.terms.budgets.limits(held.value.class))));
    ApprovalShape {
        id: one.id.to_string(),
        tenant: one.tenant.to_string(),
        integration: one.integration.to_string(),
        task: one.task.to_string(),
        status: status_word(one).to_owned(),
        until: until.map(show_time),
        decided_by: by.map(ToString::to_string),
        decided_at: at.map(show_time),
        first_approved_by: one.first.as_ref().map(|first| first.by.to_string()),
        reason,
        requested_by: one.requested_by.to_string(),
        requested_at: show_time(one.requested_at),
        justification: one.justification.clone(),
        terms: serde_json::to_value(&one.terms).unwrap_or_default(),
        scopes: profile.map(|profile| profile.scopes.to_string()).unwrap_or_default(),
        allows,
        digest: one.digest.clone(),
        fits: snapshot.fits(&one.id),
    }
}

/// So many bytes as a person reads them; what is no whole number of MiB is said exactly.
fn amount(bytes: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    if bytes >= MIB && bytes.is_multiple_of(MIB) { format!("{} MiB", bytes / MIB) } else { format!("{bytes} bytes") }
}

/// The other budgets as they hold, the class's where the terms say nothing.
fn limited(limits: &Limits) -> String {
    format!(
        "at most {} patients in a day; in a session {} requests a minute, {} pages of one search, {}, {} resource \
         types and {} look-ups of what is not there",
        limits.patients_per_day,
        limits.requests_per_minute,
        limits.pages_per_search,
        amount(limits.bytes_per_session),
        limits.types_per_session,
        limits.absent_per_session
    )
}

/// What the integration's role makes of all that, in words.
fn narrowed(snapshot: &Snapshot, integration: &Integration) -> Option<String> {
    let name = integration.role.as_ref()?;
    let Some(role) = snapshot.role_of(integration).flatten() else {
        return Some(format!("nothing: its role {name} is not there"));
    };
    let mut says = vec![match role.phi_access {
        PhiAccess::Identified => "patients as they are".to_owned(),
        PhiAccess::DeIdentifiedOnly => "de-identified, under surrogates".to_owned(),
    }];
    says.extend(role.session_timeout.map(|timeout| format!("sessions of at most {timeout}")));
    says.extend(role.exports().is_err().then(|| "no exports, files or large answers".to_owned()));
    says.extend(role.admits(integration).err().map(|why| format!("no session at all: {why}")));
    Some(format!("narrowed by its role {name}: {}", says.join("; ")))
}

/// Scopes in words: `read and search Appointment of the session's one patient`.
fn words(profile: &TaskProfile) -> Vec<String> {
    use domain::{Actions, Level, ResourceMatch};
    let letters = [
        (Actions::CREATE, "create"),
        (Actions::READ, "read"),
        (Actions::UPDATE, "change"),
        (Actions::DELETE, "delete"),
        (Actions::SEARCH, "search"),
    ];
    let scopes = profile.scopes.0.iter();
    scopes
        .map(|scope| {
            let verbs: Vec<_> =
                letters.iter().filter(|(letter, _)| scope.actions.contains(*letter)).map(|(_, verb)| *verb).collect();
            let kind = match scope.resource {
                ResourceMatch::Every => "every type",
                ResourceMatch::One(kind) => kind.name(),
            };
            let whose = match scope.level {
                Level::Patient => "of the session's one patient",
                Level::User => "that the signed-in person may see",
                Level::System => "of the population that it exports",
            };
            let slice = scope.filter.as_ref().map_or_else(String::new, |filter| {
                let pairs: Vec<_> = filter.pairs.iter().map(|(name, value)| format!("{name} is {value}")).collect();
                format!(", only where {}", pairs.join(" and "))
            });
            format!("{} {kind} {whose}{slice}", verbs.join(" and "))
        })
        .chain(profile.operations.iter().map(|operation| match operation {
            domain::Operation::Everything => {
                "take everything of the session's one patient that these scopes cover in one request (`$everything`)".into()
            }
            domain::Operation::LastN => "ask for the last observations of each code (`$lastn`)".into(),
        }))
        .chain((!profile.labels.is_empty()).then(|| {
            let labels: Vec<&str> = profile.labels.iter().map(String::as_str).collect();
            format!("see resources labelled {}", labels.join(", "))
        }))
        .collect()
}

pub(super) fn task(one: &TaskProfile) -> TaskShape {
    TaskShape {
        name: one.name.to_string(),
        version: one.version,
        purpose: one.purpose.clone(),
        purpose_of_use: one.purpose_of_use.clone(),
        scopes: one.scopes.to_string(),
        operations: one.operations.iter().map(|operation| operation.code()).collect(),
        labels: one.labels.iter().cloned().collect(),
        allows: words(one),
    }
}

pub(super) fn role(
    snapshot: &Snapshot,
    tenant: &TenantId,
    name: &RoleName,
    held: &Held<ServiceRole>,
) -> ServiceRoleShape {
    let one = &held.value;
    let named = snapshot.integrations(tenant).into_iter().filter(|held| held.value.role.as_ref() == Some(name));
    ServiceRoleShape {
        name: name.to_string(),
        permissions: one.permissions.iter().map(ToString::to_string).collect(),
        phi_access: one.phi_access.as_str(),
        session_timeout: one.session_timeout.map(|timeout| timeout.to_string()),
        mfa_required: one.mfa.into(),
        data_export: one.export.into(),
        environment: one.environment.as_ref().map(ToString::to_string),
        integrations: named.map(|held| held.value.id.to_string()).collect(),
    }
}

pub(super) fn session(row: &SessionRow) -> SessionShape {
    let one = &row.session;
    SessionShape {
        id: one.id.to_string(),
        tenant: one.tenant.to_string(),
        integration: one.integration.to_string(),
        approval: one.approval.to_string(),
        task: one.task.to_string(),
        launch: serde_json::to_value(one.launch).unwrap_or_default(),
        scope: one.scope.clone(),
        created_at: show_time(one.created_at),
        expires_at: show_time(one.expires_at),
        ended_at: row.ended.as_ref().map(|ended| show_time(ended.at)),
        ended_by: row.ended.as_ref().map(|ended| ended.by.clone()),
    }
}

pub(super) fn person(row: &PersonRow) -> PersonShape {
    let place = |tenant: &Option<TenantId>| tenant.as_ref().map_or("every tenant".to_owned(), ToString::to_string);
    let role = |(tenant, role): &(Option<TenantId>, Role)| format!("{} in {}", role.as_str(), place(tenant));
    PersonShape {
        id: row.person.id.to_string(),
        name: row.person.name.clone(),
        roles: row.person.roles.iter().map(role).collect(),
        created_at: show_time(row.created_at),
        disabled_at: row.disabled_at.map(show_time),
    }
}

/// A role grant in words, for records.
pub(super) fn grant_words(grant: &RoleGrant) -> String {
    let place = grant.tenant.as_ref().map_or("every tenant", TenantId::as_str);
    format!("{} in {place}", grant.role.as_str())
}

pub(super) fn filter(row: &FilterRow) -> FilterShape {
    FilterShape { kind: row.kind.clone(), param: row.param.clone(), state: row.state.as_str().to_owned() }
}

pub(super) fn lines(lines: &[Line]) -> Vec<LineShape> {
    lines.iter().map(|line| LineShape { action: line.action.to_owned(), what: line.what.clone() }).collect()
}
