//! The rules of one Consent: `provision`, and the exceptions to it at any depth (R4 "Consent", 6.2.4).
//!
//! A provision that does not match says nothing. One that matches says its `type`, unless an exception below it says
//! otherwise; between exceptions of one parent a denial wins. A root that permits and does not match is no denial.
//!
//! R4 wants no `type` at the root and takes it from the policy, yet its own examples put what is *refused* into a root
//! without type below an opt-in. Such a root is therefore read as a denial. Below the root a `type` is required.

use fhir::json::Value;

use super::criterion::{Criterion, Match, Subject};

/// Deepest nesting of exceptions: the base rule, its exceptions and theirs are three; deeper than this is not a form
/// that a person signed.
const DEPTH_MAX: usize = 16;
/// Most provisions of all Consents of a patient: 100 Consents with ten rules each.
const PROVISIONS_MAX: usize = 1_000;
/// Most codes and references in their criteria: each may be compared with each label of each resource of a page.
const VALUES_MAX: usize = 5_000;

/// What a provision says where it matches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Effect {
    Deny,
    Permit,
}

/// One rule and its exceptions.
pub(super) struct Provision {
    effect: Effect,
    criteria: Vec<Criterion>,
    exceptions: Vec<Provision>,
}

/// What may still be read.
pub(super) struct Budget {
    provisions: usize,
    values: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { provisions: PROVISIONS_MAX, values: VALUES_MAX }
    }
}

impl Budget {
    fn provision(&mut self) -> Option<()> {
        self.provisions = self.provisions.checked_sub(1)?;
        Some(())
    }

    /// Takes one code or reference; `None` when there were too many.
    pub(super) fn value(&mut self) -> Option<()> {
        self.values = self.values.checked_sub(1)?;
        Some(())
    }
}

/// Reads the base rule of a Consent in force: `None` if it cannot be read, `Some(None)` if it says nothing.
pub(super) fn read_consent(
    consent: Value<'_>,
    upstream_base: &str,
    opt_out: bool,
    budget: &mut Budget,
) -> Option<Option<Provision>> {
    // Outside its provisions a modifier changes what the whole of it means.
    if consent.get("implicitRules").is_some() || is_modified(consent, &["provision", "contained"]) {
        budget.provision()?;
        return Some(Some(Provision::deny(Vec::new())));
    }
    let root = match consent.get("provision") {
        None => None,
        Some(root) => Some(Provision::read(root, upstream_base, 1, budget)?),
    };
    if !opt_out {
        return Some(root);
    }
    budget.provision()?;
    Some(Some(Provision::deny(root.into_iter().collect())))
}

impl Provision {
    /// Denies all that its exceptions do not let through.
    fn deny(exceptions: Vec<Provision>) -> Self {
        Self { effect: Effect::Deny, criteria: Vec::new(), exceptions }
    }

    fn read(value: Value<'_>, upstream_base: &str, depth: usize, budget: &mut Budget) -> Option<Self> {
        if !value.is_object() || depth > DEPTH_MAX {
            return None;
        }
        budget.provision()?;
        let effect = match value.get("type") {
            Some(effect) if effect.is_str("deny") => Effect::Deny,
            Some(effect) if effect.is_str("permit") => Effect::Permit,
            None if depth == 1 => Effect::Deny,
            _ => return None,
        };
        let mut criteria = Vec::new();
        let mut exceptions = Vec::new();
        for (key, value) in value.members() {
            match &*key.text() {
                "id" | "extension" | "type" => {}
                "provision" if value.is_array() => {
                    for inner in value.elements() {
                        exceptions.push(Self::read(inner, upstream_base, depth + 1, budget)?);
                    }
                }
                "provision" => return None,
                name => criteria.push(Criterion::read(name, value, upstream_base, budget)?),
            }
        }
        // A modifier in a provision or its criteria: what it does and whom it lets through is unknown.
        if is_modified(value, &["provision"]) {
            return Some(Self::deny(Vec::new()));
        }
        Some(Self { effect, criteria, exceptions })
    }

    /// What it says of `subject`. Where it is unknown whether it matches, it can deny but not permit: it says what is
    /// worst for release among all that may be meant.
    pub(super) fn says(&self, subject: &Subject<'_, '_>) -> Option<Effect> {
        let matched = self.criteria.iter().map(|criterion| criterion.matches(subject)).min().unwrap_or(Match::Yes);
        if matched == Match::No {
            return None;
        }
        let mut effect = self.effect;
        for exception in &self.exceptions {
            match exception.says(subject) {
                Some(Effect::Deny) => return Some(Effect::Deny),
                Some(Effect::Permit) => effect = Effect::Permit,
                None => {}
            }
        }
        (matched == Match::Yes || effect == Effect::Deny).then_some(effect)
    }
}

/// Whether a `modifierExtension` stands in `value` at any depth, except below its own members named in `except`. The
/// depth is bounded by the reader of JSON.
fn is_modified(value: Value<'_>, except: &[&str]) -> bool {
    value.members().any(|(key, inner)| {
        key.is("modifierExtension") || !except.iter().any(|name| key.is(name)) && is_modified(inner, &[])
    }) || value.elements().any(|inner| is_modified(inner, &[]))
}
