//! The organisation's policies in the path: asked before the upstream is, and for every type that may come along.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use domain::{Actor, Integration, IntegrationId, Reason, TenantId};
use fhir::ResourceType;
use fhir::request::{Bulk, Interaction, Returns, Write};
use orgpolicy::{
    Action, Agent, Binding, Human, Key, Known, Outcome, Part, Principal, Relationship, RequestFacts, SessionFacts,
    Slice,
};
use parking_lot::Mutex;
use policy::{Guard, PageCursor};

use super::work::Job;
use super::{Caller, Gate};
use crate::error::Refusal;

/// Slices kept; a slice is some kilobytes. Past it all go: they are only made again.
const SLICES_MAX: usize = 10_000;

/// Different sets of types that are left of one integration.
const NARROWED_MAX: usize = 64;

/// Kinds of labelled resources remembered for one interaction.
const SEEN_MAX: usize = 1_000;

/// What was made of policies and need not be made again.
#[derive(Default)]
pub(super) struct Organisation {
    /// By integration: its id is its tenant's alone.
    slices: Mutex<HashMap<IntegrationId, Cut>>,
    known: Mutex<Known<Part>>,
    rulings: Mutex<Known<Arc<Ruling>>>,
}

/// A slice, and of which state of policies and integration it is.
struct Cut {
    tenant: TenantId,
    policies: u64,
    integration: u64,
    part: Arc<Portion>,
}

/// What concerns one integration.
struct Portion {
    slice: Arc<Slice>,
    /// The integration without the types that are kept from some interaction; sessions share them.
    narrowed: Mutex<Vec<Arc<Integration>>>,
}

/// What the policies say of one interaction before the upstream is asked.
struct Ruling {
    /// What they were asked and which of them made the answer: enough to ask other policies the same (S2-21).
    said: Vec<(&'static str, String)>,
    /// [`orgpolicy::Policies::epoch`]; `None` where there are none that could be asked.
    epoch: Option<u64>,
    types: Types,
    /// What a resource must be allowed for before it is released.
    actions: BTreeSet<Action>,
}

/// The types that an interaction may touch, of those that its integration is registered for.
enum Types {
    /// It may not be asked.
    None,
    All,
    /// The integration without the types that the policies keep from it: `verify` releases none of them.
    Some(Arc<Integration>),
}

/// What the policies said of one interaction, for its records.
#[derive(Clone, Default)]
pub(super) struct Judgement {
    ruling: Option<Arc<Ruling>>,
    releasing: Option<Arc<Releasing>>,
}

/// What an interaction is judged by from here on.
pub(super) struct Allowed {
    pub integration: Arc<Integration>,
    /// Asked about every resource, where a policy reads labels.
    pub guard: Option<Arc<dyn Guard>>,
}

impl Judgement {
    /// `None`: it may not be asked.
    pub fn allowed(&self, registered: &Arc<Integration>) -> Option<Allowed> {
        let integration = match &self.ruling.as_ref()?.types {
            Types::None => return None,
            Types::All => registered,
            Types::Some(kept) => kept,
        };
        let guard = self.releasing.clone().map(|releasing| releasing as Arc<dyn Guard>);
        Some(Allowed { integration: Arc::clone(integration), guard })
    }

    /// Attributes of the decision, with the policies that held something back from the answer as far as it is verified.
    pub fn attributes(&self) -> impl Iterator<Item = (String, String)> {
        let said = self.ruling.iter().flat_map(|ruling| &ruling.said).cloned();
        let withheld =
            self.releasing.iter().flat_map(|releasing| parts("policy.withheld", &releasing.seen.lock().denied));
        said.chain(withheld).map(|(name, value)| (name.to_owned(), value))
    }

    pub fn epoch(&self) -> Option<u64> {
        self.ruling.as_ref()?.epoch
    }
}

/// Most attributes of one name, and the longest of them: a record holds 64 of 256 bytes, and has twenty others too.
const PARTS_MAX: usize = 8;
const PART_BYTES_MAX: usize = 240;

/// A list of words as attributes of one name, each as long as a record keeps it. What no record has room for ends in `…`.
fn parts(name: &'static str, words: &BTreeSet<String>) -> Vec<(&'static str, String)> {
    let mut out: Vec<String> = Vec::new();
    for word in words {
        let full = out.len() == PARTS_MAX;
        match out.last_mut() {
            Some(last) if last.len() + 2 + word.len() <= PART_BYTES_MAX => {
                last.push_str(", ");
                last.push_str(word);
            }
            Some(last) if full => {
                last.push_str(", …");
                break;
            }
            _ => out.push(word.clone()),
        }
    }
    out.into_iter().map(|part| (name, part)).collect()
}

fn pair(action: Action, kind: ResourceType) -> String {
    format!("{} {kind}", action.name())
}

/// A ruling as it is put together.
#[derive(Default)]
struct Draft {
    asked: BTreeSet<String>,
    /// Those that allowed it all, or that denied.
    policies: BTreeSet<String>,
    /// Types that are kept from coming along, and the policies that do so.
    kept_out: BTreeSet<String>,
    withheld: BTreeSet<String>,
}

impl Draft {
    fn end(self, epoch: Option<u64>, types: Types, actions: BTreeSet<Action>) -> Ruling {
        let outcome = if matches!(types, Types::None) { "deny" } else { "allow" };
        let mut said = vec![("policy.outcome", outcome.to_owned())];
        said.extend(epoch.map(|epoch| ("policy.epoch", epoch.to_string())));
        said.extend(parts("policy.asked", &self.asked));
        said.extend(parts("policy.ids", &self.policies));
        said.extend(parts("policy.kept-out", &self.kept_out));
        said.extend(parts("policy.withheld", &self.withheld));
        Ruling { said, epoch, types, actions }
    }
}

impl Gate {
    /// Asks the policies about everything one interaction does.
    pub(super) fn judge(&self, job: &Job<'_>, interaction: &Interaction, page: Option<&PageCursor>) -> Judgement {
        let asked = asked(interaction, page).unwrap_or_default();
        let part = self.portion(job.caller).filter(|_| !asked.is_empty());
        let Some(part) = part else {
            let ruling = Arc::new(Draft::default().end(None, Types::None, BTreeSet::new()));
            return Judgement { ruling: Some(ruling), releasing: None };
        };
        let now = self.clock.now();
        // Of one thing asked, where nothing that policies read differs from request to request, the whole ruling lasts.
        let key = match *asked.as_slice() {
            [(action, kind)] if !part.slice.varies() => Some(part.key(job.caller, action, kind)),
            _ => None,
        };
        let known = key.and_then(|key| self.organisation.rulings.lock().find(&key).cloned());
        let reads_labels = part.slice.reads_labels();
        if let Some(ruling) = known.as_ref().filter(|_| !reads_labels) {
            return Judgement { ruling: Some(Arc::clone(ruling)), releasing: None };
        }
        let facts = self.facts(job.caller, job.from, Arc::clone(&part));
        let ruling = known.unwrap_or_else(|| {
            let ruling = Arc::new(self.ruling(&facts, &asked));
            if let Some(key) = key {
                let ends_at = job.caller.session.expires_at;
                self.organisation.rulings.lock().insert(key, Arc::clone(&ruling), ends_at, now);
            }
            ruling
        });
        let Facts { session, request, .. } = facts;
        let releasing = reads_labels.then(|| {
            let (slice, actions) = (Arc::clone(&part.slice), ruling.actions.clone());
            Arc::new(Releasing { slice, session, request, actions, seen: Mutex::default() })
        });
        Judgement { ruling: Some(ruling), releasing }
    }

    fn ruling(&self, facts: &Facts<'_>, asked: &[(Action, ResourceType)]) -> Ruling {
        let epoch = Some(facts.part.slice.epoch());
        let mut draft = Draft::default();
        draft.asked.extend(asked.iter().map(|&(action, kind)| pair(action, kind)));
        for &(action, kind) in asked {
            match self.outcome(facts, action, kind) {
                Outcome::Allow { policies } => draft.policies.extend(policies),
                Outcome::Deny { policies, .. } => {
                    draft.policies = policies.into_iter().collect();
                    return draft.end(epoch, Types::None, BTreeSet::new());
                }
            }
        }
        let mut actions: BTreeSet<Action> = asked.iter().map(|(action, _)| *action).collect();
        // Whatever comes along is read, and what is changed is looked at: none of that is more than could be read by itself.
        let mut reads: BTreeSet<Action> = actions.iter().copied().filter(|action| !action.writes()).collect();
        let changes_alone = reads.is_empty();
        if changes_alone {
            reads.insert(Action::Read);
        }
        if actions.iter().any(|action| action.writes()) {
            actions.insert(Action::Read);
        }
        let registered = &facts.caller.standing.integration;
        let mut kept = registered.expected.clone();
        kept.retain(|&kind| {
            if changes_alone && asked.iter().any(|(_, named)| *named == kind) {
                return true;
            }
            reads.iter().all(|&action| match self.outcome(facts, action, kind) {
                Outcome::Allow { .. } => true,
                Outcome::Deny { policies, .. } => {
                    draft.kept_out.insert(pair(action, kind));
                    draft.withheld.extend(policies);
                    false
                }
            })
        });
        let types = if kept.len() == registered.expected.len() {
            Types::All
        } else {
            Types::Some(facts.part.narrowed(registered, kept))
        };
        draft.end(epoch, types, actions)
    }

    /// Before anything leaves or is changed: what was ruled by policies that are no longer in force is asked again.
    pub(super) fn still_ruled(&self, job: &Job<'_>) -> Result<(), Refusal> {
        let snapshot = self.registry.snapshot();
        let now = snapshot.policies(&job.caller.standing.integration.tenant).map(|policies| policies.epoch());
        if job.trace.judgement().epoch() == now {
            return Ok(());
        }
        let says = "the policies of this organisation changed while this was being worked on; try again";
        Err(Refusal::new(Reason::Overloaded, says))
    }

    /// What the policies say of single actions now, for who asks what may be done (S1-35).
    pub(super) fn permits<'a>(
        &'a self,
        caller: &'a Caller,
        from: IpAddr,
    ) -> impl Fn(Action, ResourceType) -> bool + 'a {
        let facts = self.portion(caller).map(|part| self.facts(caller, from, part));
        move |action, kind| facts.as_ref().is_some_and(|facts| self.outcome(facts, action, kind).allows())
    }

    fn facts<'a>(&self, caller: &'a Caller, from: IpAddr, part: Arc<Portion>) -> Facts<'a> {
        let request = RequestFacts { at: self.clock.now(), address: from };
        Facts { caller, part, request, session: session(caller) }
    }

    fn outcome(&self, facts: &Facts<'_>, action: Action, kind: ResourceType) -> Outcome {
        let Facts { caller, part, request, session } = facts;
        let slice = &part.slice;
        let key = part.key(caller, action, kind);
        let known = self.organisation.known.lock().find(&key).cloned();
        let lasting = known.unwrap_or_else(|| {
            let part = slice.lasting(session, action, kind);
            self.organisation.known.lock().insert(key, part.clone(), caller.session.expires_at, request.at);
            part
        });
        lasting.and(slice.passing(session, action, kind, request)).outcome()
    }

    /// What concerns the caller; `None` denies.
    fn portion(&self, caller: &Caller) -> Option<Arc<Portion>> {
        let integration = &caller.standing.integration;
        let snapshot = self.registry.snapshot();
        let policies = snapshot.policies(&integration.tenant)?;
        let mut slices = self.organisation.slices.lock();
        if let Some(cut) = slices.get(&integration.id)
            && cut.tenant == integration.tenant
            && cut.policies == policies.epoch()
            && cut.integration == integration.epoch
        {
            return Some(Arc::clone(&cut.part));
        }
        let agent = Agent {
            tenant: integration.tenant.clone(),
            integration: integration.id.clone(),
            class: integration.class,
            environment: integration.environment,
        };
        let part = Arc::new(Portion { slice: Arc::new(policies.slice(&agent)?), narrowed: Mutex::default() });
        if slices.len() >= SLICES_MAX {
            slices.clear();
        }
        let (tenant, epoch) = (integration.tenant.clone(), integration.epoch);
        let cut = Cut { tenant, policies: policies.epoch(), integration: epoch, part: Arc::clone(&part) };
        slices.insert(integration.id.clone(), cut);
        Some(part)
    }
}

impl Portion {
    fn key(&self, caller: &Caller, action: Action, kind: ResourceType) -> Key {
        // A refresh may bind what was not bound before, and the other way round.
        let bound = caller.session.confirmation.is_some();
        Key { session: caller.session.id, bound, action, kind, epoch: self.slice.epoch() }
    }

    fn narrowed(&self, registered: &Integration, kept: BTreeSet<ResourceType>) -> Arc<Integration> {
        let mut narrowed = self.narrowed.lock();
        if let Some(known) = narrowed.iter().find(|known| known.expected == kept) {
            return Arc::clone(known);
        }
        let made = Arc::new(Integration { expected: kept, ..registered.clone() });
        if narrowed.len() < NARROWED_MAX {
            narrowed.push(Arc::clone(&made));
        }
        made
    }
}

/// The policies that read labels, for one interaction.
struct Releasing {
    slice: Arc<Slice>,
    session: SessionFacts,
    request: RequestFacts,
    actions: BTreeSet<Action>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// A page has many resources and few kinds of them.
    kinds: HashMap<(ResourceType, BTreeSet<String>), bool>,
    /// The policies that held something back.
    denied: BTreeSet<String>,
}

impl Guard for Releasing {
    fn releases(&self, kind: ResourceType, labels: &BTreeSet<String>) -> bool {
        let mut seen = self.seen.lock();
        let key = (kind, labels.clone());
        if let Some(releases) = seen.kinds.get(&key) {
            return *releases;
        }
        let Self { slice, session, request, actions, .. } = self;
        let said = actions.iter().map(|action| slice.releasing(session, *action, kind, request, labels));
        let said = said.fold(Part::default(), Part::and);
        let releases = !said.denies();
        if !releases && let Outcome::Deny { policies, .. } = said.outcome() {
            seen.denied.extend(policies);
        }
        if seen.kinds.len() < SEEN_MAX {
            seen.kinds.insert(key, releases);
        }
        releases
    }
}

/// What one request's decisions are made from.
struct Facts<'a> {
    caller: &'a Caller,
    part: Arc<Portion>,
    request: RequestFacts,
    session: SessionFacts,
}

/// What is known of the session today: not yet with how many factors its person signed in.
fn session(caller: &Caller) -> SessionFacts {
    let session = &caller.session;
    let known = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let Actor { sub, subject_role, organization_id, .. } = &session.act;
    let person = known(sub).filter(|_| session.launch.has_person());
    SessionFacts {
        id: session.id.to_string(),
        task: session.task.clone(),
        purpose_of_use: session.purpose_of_use.clone(),
        binding: Binding::GatewayEnforced,
        bound: session.confirmation.is_some(),
        relationship: Relationship::of(session.launch),
        person: person.map(|id| Human { id, mfa: None }),
        actor: Principal { sub: known(sub), role: known(subject_role), organization: known(organization_id) },
    }
}

/// Everything an interaction does, as policies name it; `None` if it is nothing they know.
fn asked(interaction: &Interaction, page: Option<&PageCursor>) -> Option<Vec<(Action, ResourceType)>> {
    let one = |kind: ResourceType| {
        let name = page.map_or(interaction.name(), PageCursor::interaction_name);
        Some(vec![(name.parse().ok()?, kind)])
    };
    match interaction {
        Interaction::Capabilities => None,
        Interaction::Read { kind, .. } | Interaction::Vread { kind, .. } | Interaction::Page { kind, .. } => one(*kind),
        Interaction::History(history) => one(history.kind),
        Interaction::Search(search) => one(search.kind),
        Interaction::Everything(_) => one(ResourceType::PATIENT),
        Interaction::Binary { .. } => one("Binary".parse().ok()?),
        // A change that shows the stored resource, or is told by what it finds there, is a reading too.
        Interaction::Write(write) => {
            let mut out = one(write.kind())?;
            let shows = match write {
                Write::Patch { .. } => true,
                Write::Create { returns, .. } | Write::Update { returns, .. } => *returns == Returns::Representation,
                Write::Delete { .. } => false,
            };
            out.extend(shows.then_some((Action::Read, write.kind())));
            Some(out)
        }
        Interaction::Bundle(submission) => {
            let mut out = Vec::new();
            for entry in &submission.entries {
                out.extend(asked(entry.asks.as_ref().ok()?, None)?);
            }
            Some(out)
        }
        // Only the kick-off asks for anything of a patient; what its files hold is asked about file by file.
        Interaction::Bulk(Bulk::KickOff(kick_off)) if kick_off.kinds.is_empty() => {
            Some(vec![(Action::Export, ResourceType::PATIENT)])
        }
        Interaction::Bulk(Bulk::KickOff(kick_off)) => {
            Some(kick_off.kinds.iter().map(|kind| (Action::Export, *kind)).collect())
        }
        Interaction::Bulk(_) => None,
    }
}

#[test]
fn every_interaction_but_those_of_many_is_an_action() {
    let many = ["capabilities", "page", "batch", "transaction", "export-status", "export-cancel", "export-file"];
    for name in Interaction::NAMES {
        assert_eq!(name.parse::<Action>().is_ok(), !many.contains(&name), "{name}");
    }
}

#[test]
fn a_long_list_is_told_in_parts_as_long_as_a_record_keeps_them() {
    let words = |count: usize| -> BTreeSet<String> {
        (0..count).map(|n| format!("policy-{n:03}-{}", "x".repeat(20))).collect()
    };
    let few = parts("policy.ids", &words(20));
    assert!(few.len() > 1 && few.iter().all(|(name, part)| *name == "policy.ids" && part.len() <= PART_BYTES_MAX));
    let again: BTreeSet<String> = few.iter().flat_map(|(_, part)| part.split(", ")).map(str::to_owned).collect();
    assert_eq!(again, words(20));
    let many = parts("policy.ids", &words(200));
    assert_eq!(many.len(), PARTS_MAX);
    assert!(
        many.iter().all(|(_, part)| part.len() <= 256) && many.last().is_some_and(|(_, part)| part.ends_with(", …"))
    );
    assert!(parts("policy.ids", &BTreeSet::new()).is_empty());
}
