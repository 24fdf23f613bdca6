//! What a decision is made from, each fact of its own type. Values become Cedar values through its constructors alone.

use std::collections::{BTreeSet, HashMap, HashSet};
// The addresses alone, as values; there are no sockets in `core`.
use core::net::IpAddr;
use std::str::FromStr;

use cedar_policy::{Context, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use domain::{Class, Environment, IntegrationId, LaunchKind, Millis, TaskRef, TenantId};
use fhir::ResourceType;

use crate::reads::OPTIONAL;

/// Who asks: an integration, in its tenant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Agent {
    /// The organisation.
    pub tenant: TenantId,
    /// The integration.
    pub integration: IntegrationId,
    /// Its class.
    pub class: Class,
    /// Where it runs.
    pub environment: Environment,
}

/// One interaction, as policies name it. A batch's entries are asked one by one, and a further page is its search.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs, reason = "the words of FHIR's REST interface")]
pub enum Action {
    Read,
    Vread,
    History,
    Search,
    LastN,
    Everything,
    Binary,
    Create,
    Update,
    Patch,
    Delete,
    Export,
}

/// A word that names no action.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no such action")]
pub struct InvalidAction;

impl Action {
    /// Every action.
    pub const ALL: [Self; 12] = [
        Self::Read,
        Self::Vread,
        Self::History,
        Self::Search,
        Self::LastN,
        Self::Everything,
        Self::Binary,
        Self::Create,
        Self::Update,
        Self::Patch,
        Self::Delete,
        Self::Export,
    ];

    /// Whether it changes what is stored.
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::Patch | Self::Delete)
    }

    /// As policies write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Vread => "vread",
            Self::History => "history",
            Self::Search => "search",
            Self::LastN => "lastn",
            Self::Everything => "everything",
            Self::Binary => "binary",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::Export => "export",
        }
    }
}

impl FromStr for Action {
    type Err = InvalidAction;

    fn from_str(text: &str) -> Result<Self, InvalidAction> {
        Self::ALL.into_iter().find(|action| action.name() == text).ok_or(InvalidAction)
    }
}

/// Who keeps a session to its patient.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binding {
    /// The upstream too: the session's own upstream token is bound to the patient.
    EhrEnforced,
    /// The gate alone.
    #[default]
    GatewayEnforced,
}

/// What established the patient of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relationship {
    /// The EHR launched through the gate.
    EhrLaunch,
    /// A person signed in and picked the patient.
    Standalone,
    /// A launcher's ticket.
    Ticket,
    /// A proved care relationship.
    Rule,
}

/// The human behind the agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Human {
    /// Who.
    pub id: String,
    /// Whether more than one factor was used to sign in; `None` if nobody knows.
    pub mfa: Option<bool>,
}

/// Whom the agent acts for, as far as that is known: the person who signed in, or whom the agent itself says it acts for.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// The person, as their identity provider or the agent names them.
    pub sub: Option<String>,
    /// The person's role.
    pub role: Option<String>,
    /// The organisation, a URI.
    pub organization: Option<String>,
}

/// What stays the same as long as a session lives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionFacts {
    /// The session's id as in the audit records.
    pub id: String,
    /// The task profile.
    pub task: TaskRef,
    /// HL7 v3 PurposeOfUse.
    pub purpose_of_use: String,
    /// Who keeps it to its patient.
    pub binding: Binding,
    /// Whether the token is bound to a key its holder proves to have.
    pub bound: bool,
    /// What established the patient; `None` if that is not known.
    pub relationship: Option<Relationship>,
    /// The human behind the agent; `None` if there is none or nobody knows.
    pub person: Option<Human>,
    /// Whom the agent acts for.
    pub actor: Principal,
}

/// What differs from request to request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestFacts {
    /// When it came.
    pub at: Millis,
    /// From where.
    pub address: IpAddr,
}

impl RequestFacts {
    const HOUR: Millis = 3_600_000;

    /// UTC, 0 to 23.
    #[must_use]
    pub fn hour(&self) -> i64 {
        self.at.div_euclid(Self::HOUR).rem_euclid(24)
    }

    /// UTC, Monday is 1. The epoch was a Thursday.
    #[must_use]
    pub fn weekday(&self) -> i64 {
        (self.at.div_euclid(24 * Self::HOUR) + 3).rem_euclid(7) + 1
    }
}

/// A fact that Cedar would not take, or a value that is not in the schema. Always a denial.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Unfit;

type Fields = Vec<(String, RestrictedExpression)>;

impl SessionFacts {
    /// Which of the optional attributes nobody knows; in the order of [`crate::reads::OPTIONAL`].
    pub(crate) fn unknown(&self) -> [bool; OPTIONAL.len()] {
        let mfa = self.person.as_ref().and_then(|person| person.mfa);
        let Principal { sub, role, organization } = &self.actor;
        [
            self.relationship.is_none(),
            self.person.is_none(),
            mfa.is_none(),
            sub.is_none(),
            role.is_none(),
            organization.is_none(),
        ]
    }

    fn expression(&self) -> Result<RestrictedExpression, Unfit> {
        let mut fields = vec![
            text("id", &self.id),
            text("task", self.task.name.as_str()),
            ("task_version".to_owned(), RestrictedExpression::new_long(self.task.version.into())),
            text("purpose_of_use", &self.purpose_of_use),
            one_of("binding", "Binding", self.binding.name())?,
            ("bound".to_owned(), RestrictedExpression::new_bool(self.bound)),
        ];
        let Principal { sub, role, organization } = &self.actor;
        let actor = [("sub", sub), ("role", role), ("organization", organization)];
        let actor = actor.into_iter().filter_map(|(name, value)| Some(text(name, value.as_ref()?))).collect();
        fields.push(("actor".to_owned(), record(actor)?));
        if let Some(relationship) = self.relationship {
            fields.push(one_of("relationship", "Relationship", relationship.name())?);
        }
        if let Some(Human { id, mfa }) = &self.person {
            let mut person = vec![text("id", id)];
            person.extend(mfa.map(|mfa| ("mfa".to_owned(), RestrictedExpression::new_bool(mfa))));
            fields.push(("person".to_owned(), record(person)?));
        }
        record(fields)
    }
}

/// The context of one evaluation: no more of it than is known by then.
pub(crate) fn context(
    session: &SessionFacts,
    request: Option<&RequestFacts>,
    labels: Option<&BTreeSet<String>>,
) -> Result<Context, Unfit> {
    let mut fields = vec![("session".to_owned(), session.expression()?)];
    if let Some(request) = request {
        let inner = vec![
            ("hour".to_owned(), RestrictedExpression::new_long(request.hour())),
            ("weekday".to_owned(), RestrictedExpression::new_long(request.weekday())),
            ("address".to_owned(), RestrictedExpression::new_ip(request.address.to_canonical().to_string())),
        ];
        fields.push(("request".to_owned(), record(inner)?));
    }
    if let Some(labels) = labels {
        let labels = labels.iter().map(|label| RestrictedExpression::new_string(label.clone()));
        let inner = vec![("labels".to_owned(), RestrictedExpression::new_set(labels))];
        fields.push(("answer".to_owned(), record(inner)?));
    }
    Context::from_pairs(fields).map_err(|_| Unfit)
}

impl Agent {
    /// The integration and its tenant as Cedar's entities.
    pub(crate) fn entities(&self) -> Result<[Entity; 2], Unfit> {
        let tenant = Entity::new_no_attrs(self.tenant_uid()?, HashSet::new());
        let attributes = HashMap::from([
            one_of("class", "Class", self.class.as_str())?,
            one_of("environment", "Environment", self.environment.as_str())?,
        ]);
        let integration =
            Entity::new(self.uid()?, attributes, HashSet::from([self.tenant_uid()?])).map_err(|_| Unfit)?;
        Ok([tenant, integration])
    }

    pub(crate) fn uid(&self) -> Result<EntityUid, Unfit> {
        uid("Integration", self.integration.as_str())
    }

    pub(crate) fn tenant_uid(&self) -> Result<EntityUid, Unfit> {
        uid("Tenant", self.tenant.as_str())
    }
}

pub(crate) fn action_uid(action: Action) -> Result<EntityUid, Unfit> {
    uid("Action", action.name())
}

pub(crate) fn type_uid(kind: ResourceType) -> Result<EntityUid, Unfit> {
    uid("Type", kind.name())
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, Unfit> {
    let kind: EntityTypeName = kind.parse().map_err(|_| Unfit)?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

fn text(name: &str, value: &str) -> (String, RestrictedExpression) {
    (name.to_owned(), RestrictedExpression::new_string(value.to_owned()))
}

fn one_of(name: &str, kind: &str, value: &str) -> Result<(String, RestrictedExpression), Unfit> {
    Ok((name.to_owned(), RestrictedExpression::new_entity_uid(uid(kind, value)?)))
}

fn record(fields: Fields) -> Result<RestrictedExpression, Unfit> {
    RestrictedExpression::new_record(fields).map_err(|_| Unfit)
}

impl Binding {
    fn name(self) -> &'static str {
        match self {
            Self::EhrEnforced => "ehr-enforced",
            Self::GatewayEnforced => "gateway-enforced",
        }
    }
}

impl Relationship {
    /// What a launch established; an export has no patient.
    #[must_use]
    pub fn of(launch: LaunchKind) -> Option<Self> {
        match launch {
            LaunchKind::Ehr => Some(Self::EhrLaunch),
            LaunchKind::Standalone => Some(Self::Standalone),
            LaunchKind::Ticket => Some(Self::Ticket),
            LaunchKind::Relationship => Some(Self::Rule),
            LaunchKind::Export => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::EhrLaunch => "ehr-launch",
            Self::Standalone => "standalone",
            Self::Ticket => "ticket",
            Self::Rule => "rule",
        }
    }
}

#[test]
fn hours_and_weekdays_are_utc() {
    let address = IpAddr::from([127, 0, 0, 1]);
    for (at, hour, weekday) in [(0, 0, 4), (-1, 23, 3), (4 * 86_400_000, 0, 1), (1_795_000_000_000, 11, 3)] {
        let request = RequestFacts { at, address };
        assert_eq!((request.hour(), request.weekday()), (hour, weekday), "{at}");
    }
}
