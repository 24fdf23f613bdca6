//! What is offered of each type: to one session, or at most to any (S1-35). The same grants that decide say it.

use domain::{Actions, Integration, Session, TaskProfile};
use fhir::owner::{self, OwnerRule};
use fhir::{ResourceType, params};

use crate::grants::Grants;
use crate::rules::TenantRules;

/// What is offered of one type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Offer {
    /// The type.
    pub kind: ResourceType,
    /// The letters that have an effect on it.
    pub actions: Actions,
    /// Whether it may come along with a search.
    pub included: bool,
}

/// What one session may do, by type; types of which nothing is offered are left out.
#[must_use]
pub fn offers(integration: &Integration, profile: &TaskProfile, session: &Session, rules: &TenantRules) -> Vec<Offer> {
    let grants = Grants::new(integration, profile, session, rules, None);
    let letters = [Actions::CREATE, Actions::READ, Actions::UPDATE, Actions::DELETE, Actions::SEARCH];
    let offer = |kind: ResourceType| {
        let granted = letters
            .into_iter()
            .filter(|letter| grants.expects(kind) && grants.covering(kind, &[*letter]).next().is_some())
            .fold(Actions::NONE, Actions::or);
        let actions = granted.and(most(kind, grants.shares(kind)));
        Offer { kind, actions, included: grants.includes(kind) }
    };
    ResourceType::all().map(offer).filter(|offer| !offer.actions.is_empty()).collect()
}

/// What any session could be given, by type.
#[must_use]
pub fn offers_at_most(shared: &dyn Fn(ResourceType) -> bool) -> Vec<Offer> {
    ResourceType::all()
        .map(|kind| {
            let shared = shared(kind) && owner::shareable(kind);
            Offer { kind, actions: most(kind, shared), included: kind != ResourceType::BINARY }
        })
        .filter(|offer| !offer.actions.is_empty())
        .collect()
}

/// The letters that can have an effect on a type at all.
fn most(kind: ResourceType, shared: bool) -> Actions {
    let reads = Actions::READ.or(Actions::SEARCH);
    match owner::rule(kind) {
        OwnerRule::Outside if shared => reads,
        OwnerRule::Outside => Actions::NONE,
        OwnerRule::Own => reads.or(Actions::UPDATE),
        _ if kind == ResourceType::CONSENT => reads,
        _ if params::narrow_by(kind).is_none() => Actions::ALL.and(Actions::READ.or(Actions::V1_WRITE)),
        _ => Actions::ALL,
    }
}
