//! The policies of one tenant that can concern one integration, ready to be asked.

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::{Authorizer, Context, Entities, EntityUid, Policy, PolicySet, PrincipalConstraint, Request, Schema};
use fhir::ResourceType;

use crate::facts::{self, Action, Agent, RequestFacts, SessionFacts, Unfit};
use crate::outcome::{Outcome, Part};
use crate::policies::{Effect, Held, Policies};
use crate::reads::{OPTIONAL, Stability};

/// Policies of one stability.
#[derive(Clone, Debug, Default)]
struct Layer {
    plain: PolicySet,
    /// Each `permit` that reads what may be unknown, with which of it: while any of that is, it does not apply, whatever it
    /// would make of its being unknown.
    knowing: Vec<([bool; OPTIONAL.len()], PolicySet)>,
    /// For each attribute that may be unknown: what stands in for a `forbid` while it is.
    unknowing: [PolicySet; OPTIONAL.len()],
}

/// The policies that can concern one integration, with what Cedar must know of it.
#[derive(Clone, Debug)]
pub struct Slice {
    agent: EntityUid,
    entities: Entities,
    schema: Arc<Schema>,
    session: Layer,
    request: Layer,
    answer: Layer,
    epoch: u64,
}

impl Policies {
    /// What concerns this integration; `None` when it does not fit the schema, which is a denial of everything.
    #[must_use]
    pub fn slice(&self, agent: &Agent) -> Option<Slice> {
        self.try_slice(agent).ok()
    }

    fn try_slice(&self, agent: &Agent) -> Result<Slice, Unfit> {
        let (uid, tenant) = (agent.uid()?, agent.tenant_uid()?);
        let entities = Entities::from_entities(agent.entities()?, Some(&self.schema)).map_err(|_| Unfit)?;
        let concerns = |policy: &Policy| match policy.principal_constraint() {
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => true,
            PrincipalConstraint::Eq(named) => named == uid,
            PrincipalConstraint::In(named) | PrincipalConstraint::IsIn(_, named) => named == uid || named == tenant,
        };
        let theirs: Vec<&Held> = self.held.iter().filter(|held| concerns(&held.policy)).collect();
        let layer = |stability| Layer::of(theirs.iter().copied().filter(|held| held.info.stability == stability));
        Ok(Slice {
            session: layer(Stability::Session)?,
            request: layer(Stability::Request)?,
            answer: layer(Stability::Answer)?,
            agent: uid,
            entities,
            schema: Arc::clone(&self.schema),
            epoch: self.epoch(),
        })
    }
}

impl Layer {
    fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.knowing.is_empty()
    }

    fn of<'a>(held: impl Iterator<Item = &'a Held>) -> Result<Self, Unfit> {
        let mut out = Self::default();
        for held in held {
            if held.info.effect == Effect::Permit && held.optional.contains(&true) {
                let alone = PolicySet::from_policies([held.policy.clone()]).map_err(|_| Unfit)?;
                out.knowing.push((held.optional, alone));
                continue;
            }
            out.plain.add(held.policy.clone()).map_err(|_| Unfit)?;
            let Some(unknowing) = &held.unknowing else { continue };
            for (set, _) in out.unknowing.iter_mut().zip(held.optional).filter(|(_, reads)| *reads) {
                set.add(unknowing.clone()).map_err(|_| Unfit)?;
            }
        }
        Ok(out)
    }
}

impl Slice {
    /// The epoch of the policies it was cut from.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether any policy must be asked for every request.
    #[must_use]
    pub fn varies(&self) -> bool {
        !self.request.is_empty()
    }

    /// Whether any policy must be asked for every resource that is to be released.
    #[must_use]
    pub fn reads_labels(&self) -> bool {
        !self.answer.is_empty()
    }

    /// What stays true as long as the session and these policies do.
    #[must_use]
    pub fn lasting(&self, session: &SessionFacts, action: Action, kind: ResourceType) -> Part {
        self.part(&self.session, session, action, kind, None, None)
    }

    /// What is true of this request; join it with [`Slice::lasting`].
    #[must_use]
    pub fn passing(&self, session: &SessionFacts, action: Action, kind: ResourceType, request: &RequestFacts) -> Part {
        if !self.varies() {
            return Part::default();
        }
        self.part(&self.request, session, action, kind, Some(request), None)
    }

    /// Whether anything forbids to release a resource with these labels; [`Part::denies`] says so.
    #[must_use]
    pub fn releasing(
        &self,
        session: &SessionFacts,
        action: Action,
        kind: ResourceType,
        request: &RequestFacts,
        labels: &BTreeSet<String>,
    ) -> Part {
        if !self.reads_labels() {
            return Part::default();
        }
        self.part(&self.answer, session, action, kind, Some(request), Some(labels))
    }

    /// Everything that can be said before the upstream is asked.
    pub fn decide(
        &self,
        session: &SessionFacts,
        action: Action,
        kind: ResourceType,
        request: &RequestFacts,
    ) -> Outcome {
        self.lasting(session, action, kind).and(self.passing(session, action, kind, request)).outcome()
    }

    fn part(
        &self,
        layer: &Layer,
        session: &SessionFacts,
        action: Action,
        kind: ResourceType,
        request: Option<&RequestFacts>,
        labels: Option<&BTreeSet<String>>,
    ) -> Part {
        let asked = facts::context(session, request, labels).and_then(|context| {
            // A whole context is checked against the schema; a part of one is what the analysis of reads left of it, and
            // a policy that reads more all the same errs, which denies.
            let whole = request.is_some() && labels.is_some();
            self.request(action, kind, context, whole)
        });
        let Ok(asked) = asked else { return Part::broken() };
        let authorizer = Authorizer::new();
        let ask = |policies: &PolicySet| Part::of(&authorizer.is_authorized(&asked, policies, &self.entities));
        let unknown = session.unknown();
        let known = |reads: &[bool]| reads.iter().zip(unknown).all(|(reads, unknown)| !(*reads && unknown));
        let knowing = layer.knowing.iter().filter(|(reads, _)| known(reads));
        let part = knowing.fold(ask(&layer.plain), |part, (_, set)| part.and(ask(set)));
        let missing = layer.unknowing.iter().zip(unknown).filter(|(set, unknown)| *unknown && !set.is_empty());
        missing.fold(part, |part, (set, _)| part.and(ask(set)))
    }

    fn request(&self, action: Action, kind: ResourceType, context: Context, whole: bool) -> Result<Request, Unfit> {
        let (action, kind) = (facts::action_uid(action)?, facts::type_uid(kind)?);
        let schema = whole.then_some(&*self.schema);
        Request::new(self.agent.clone(), action, kind, context, schema).map_err(|_| Unfit)
    }
}
