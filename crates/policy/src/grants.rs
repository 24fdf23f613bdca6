//! What a session may touch: class ∩ expected types ∩ profile ∩ scope, as the clauses that are left of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::{Actions, Class, Integration, Level, Scope, Session, Subject, TaskProfile};
use fhir::ResourceType;
use fhir::json::Value;
use fhir::owner::{self, OwnerRule};

use crate::decide::Guard;
use crate::rules::TenantRules;
use crate::{criteria, labels};

/// Read or search: what covers an included or contained resource (IN-22).
pub(crate) const EITHER: [Actions; 2] = [Actions::READ, Actions::SEARCH];

/// A set of resource types: one bit each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kinds([u64; 3]);

impl Kinds {
    fn of(kinds: impl Iterator<Item = ResourceType>) -> Self {
        let mut set = Self::default();
        for kind in kinds {
            if let Some(word) = set.0.get_mut(kind.index() / 64) {
                *word |= 1 << (kind.index() % 64);
            }
        }
        set
    }

    pub(crate) fn contains(self, kind: ResourceType) -> bool {
        self.0.get(kind.index() / 64).is_some_and(|word| word & (1 << (kind.index() % 64)) != 0)
    }
}

/// One clause of the session's scope, narrowed by one of the profile's.
#[derive(Clone)]
pub(crate) struct Clause {
    /// Its place in the session's scope.
    pub(crate) index: u32,
    pub(crate) scope: Scope,
}

/// The clauses that are left, and the types they may reach.
#[derive(Clone)]
pub(crate) struct Grants {
    clauses: Vec<Clause>,
    expected: Kinds,
    shared: Kinds,
    /// Codes of labels the task may see.
    labels: BTreeSet<String>,
    guard: Option<Arc<dyn Guard>>,
}

impl Grants {
    /// Nothing.
    pub(crate) fn none() -> Self {
        let none = Kinds::default();
        Self { clauses: Vec::new(), expected: none, shared: none, labels: BTreeSet::new(), guard: None }
    }

    /// Clauses of the level that the subject has, and no others: `patient/` for a patient, which others never widen (SC-07), and `user/`
    /// beside it for a clinician's app; `system/` for a population.
    pub(crate) fn new(
        integration: &Integration,
        profile: &TaskProfile,
        session: &Session,
        rules: &TenantRules,
        guard: Option<Arc<dyn Guard>>,
    ) -> Self {
        let fits = |level: Level| match session.subject {
            // What a clinician may see of this patient (S1-10); whom they see at all was settled when the session started.
            Subject::Patient(_) | Subject::Surrogate(_) if level == Level::User => {
                integration.class == Class::ClinicianApp
            }
            // A surrogate is denied before any clause is looked at.
            Subject::Patient(_) | Subject::Surrogate(_) => level == Level::Patient,
            Subject::Cohort => level == Level::System,
        };
        let mut clauses: Vec<Clause> = Vec::new();
        for (index, asked) in (0u32..).zip(&session.scopes.0) {
            if !fits(asked.level) || integration.class.check_scope(asked).is_err() {
                continue;
            }
            for allowed in &profile.scopes.0 {
                let Some(scope) = asked.intersect(allowed) else { continue };
                // A clause within another adds nothing; without it, more searches can say the whole scope (SR-30).
                if !clauses.iter().any(|known| scope.is_within(&known.scope)) {
                    clauses.retain(|known| !known.scope.is_within(&scope));
                    clauses.push(Clause { index, scope });
                }
            }
        }
        let shared = rules.shared.iter().copied().filter(|kind| is_outside(*kind) && owner::shareable(*kind));
        let expected = Kinds::of(integration.expected.iter().copied());
        Self { clauses, expected, shared: Kinds::of(shared), labels: profile.labels.clone(), guard }
    }

    /// Clauses that cover `kind` with one of `letters` and can be evaluated here.
    pub(crate) fn covering(&self, kind: ResourceType, letters: &[Actions]) -> impl Iterator<Item = &Clause> {
        self.clauses.iter().filter(move |clause| {
            letters.iter().any(|letter| clause.scope.covers(kind, *letter))
                && clause.scope.filter.as_ref().is_none_or(|filter| criteria::evaluable(kind, filter))
        })
    }

    /// Whether the integration is expected to touch `kind` (S2-04).
    pub(crate) fn expects(&self, kind: ResourceType) -> bool {
        self.expected.contains(kind)
    }

    /// Whether the tenant shares `kind`, a type that is nobody's (p4).
    pub(crate) fn shares(&self, kind: ResourceType) -> bool {
        self.shared.contains(kind)
    }

    /// Whether resources of `kind` can be released to anyone: owned by a patient, or shared.
    pub(crate) fn releasable(&self, kind: ResourceType) -> bool {
        !is_outside(kind) || self.shares(kind)
    }

    /// Whether `kind` may come along with a search as an included resource.
    pub(crate) fn includes(&self, kind: ResourceType) -> bool {
        self.expects(kind) && self.releasable(kind) && self.covering(kind, &EITHER).next().is_some()
    }

    /// The first clause that admits `resource`, criteria and security labels included: letters, slice and labels of one
    /// and the same clause (SC-12).
    pub(crate) fn admits(&self, kind: ResourceType, letters: &[Actions], resource: Value<'_>) -> Option<u32> {
        if !self.expects(kind) || !self.releasable(kind) {
            return None;
        }
        if let Some(guard) = &self.guard
            && !guard.releases(kind, &labels::all(resource).into_iter().map(|label| label.code).collect())
        {
            return None;
        }
        let restricted = labels::restricted(resource);
        self.covering(kind, letters)
            .find(|clause| {
                let filter = clause.scope.filter.as_ref();
                filter.is_none_or(|filter| criteria::holds(kind, filter, resource))
                    && restricted.iter().all(|label| labels::permitted(label, filter, &self.labels))
            })
            .map(|clause| clause.index)
    }
}

fn is_outside(kind: ResourceType) -> bool {
    matches!(owner::rule(kind), OwnerRule::Outside)
}

/// The scope that would have covered `action` on `kind`.
pub(crate) fn suggestion(kind: ResourceType, action: Actions) -> String {
    let letters = if Actions::READ.or(Actions::SEARCH).contains(action) { "rs".to_owned() } else { action.to_string() };
    format!("patient/{kind}.{letters}")
}
