//! What a patient's own Consents (R4 "Consent") say against a release: a denial wins over every scope (S3-10).
//!
//! Only ever takes away: a Consent that permits grants nothing here, it merely does not deny. What cannot be evaluated
//! counts against release, so every doubt is a denial: a criterion that this file cannot decide leaves a denying
//! provision in force and a permitting one without effect.
//!
//! - Considered are Consents of the session's patient that are `active` and about privacy. A `status` that R4 does not
//!   know is taken as active: only the codes that say "not in force" set a Consent aside.
//! - `scope`: `research`, `adr` and `treatment` (consentscope) are about taking part in a study, advance directives and
//!   being treated, not about access to records; they are ignored. Missing or unknown, it counts as `patient-privacy`.
//! - `policyRule` and `category`: a general opt-out (v3-ActCode `OPTOUT`, `OPTOUTE`, `EMRGONLY`) is the base rule, and
//!   the root provision an exception to it. Any other policy is a text for people and says nothing.
//! - `provision`: see [`provision`]. A Consent without one, and without an opt-out, says nothing.
//! - `verification`, `dateTime`, `performer` and the signed source do not matter: an unverified wish is a wish.
//! - `modifierExtension` and `implicitRules` change the meaning in ways unknown to us (R4 2.4.0.2): read as a denial.
//! - An active Consent that cannot be read denies everything, since what it forbids is unknown; so do too many of them.
//! - Every type is subject to the rules, Consent itself included: what a patient refused to share says much about them.

mod criterion;
mod period;
mod provision;
mod vocabulary;

use std::fmt;
use std::sync::Arc;

use domain::Millis;
use fhir::json::Value;
use fhir::references::{self, Reference};
use fhir::{Id, ResourceType};

use crate::labels::Vocabulary;
use criterion::Subject;
use provision::{Budget, Effect, Provision};

/// Most Consents in force for one patient: a form per visit for years is some dozens.
const CONSENTS_MAX: usize = 100;

/// The rules of one patient's Consents. Cheap to clone; holds PHI.
// INVARIANT: of one patient, and complete: what could not be read whole is `Rules::Everything`.
#[derive(Clone)]
pub struct Consents(Rules);

#[derive(Clone)]
enum Rules {
    /// Nothing may be released.
    Everything,
    Roots(Arc<[Provision]>),
}

/// A Consent says what a patient wants kept from whom: debug output shows none of it.
impl fmt::Debug for Consents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Consents([sealed])")
    }
}

/// Under which circumstances a release is asked for.
#[derive(Clone, Copy, Debug)]
pub struct ConsentContext<'a> {
    /// The time of the release.
    pub now: Millis,
    /// The session's purpose of use, a v3-ActReason code.
    pub purpose_of_use: &'a str,
    /// What a release amounts to, as consentaction codes. A denial of one of them denies; a permit has to name all.
    pub actions: &'a [&'a str],
}

impl Consents {
    /// No Consent at all: denies nothing.
    #[must_use]
    pub fn none() -> Self {
        Self(Rules::Roots(Arc::new([])))
    }

    /// Consents that should have been read and could not be: denies everything.
    #[must_use]
    pub fn unknown() -> Self {
        Self(Rules::Everything)
    }

    /// Reads the Consents of `patient` from resources as the upstream holds them; see [`ConsentsBuilder`].
    pub fn read<'d>(resources: impl IntoIterator<Item = Value<'d>>, patient: &Id, upstream_base: &str) -> Self {
        let mut builder = ConsentsBuilder::new(patient, upstream_base);
        resources.into_iter().for_each(|resource| builder.add(resource));
        builder.build()
    }

    /// Whether any of them keeps `resource`, an instance of `kind` with this `id`, from being released.
    pub(crate) fn denies(
        &self,
        context: &ConsentContext<'_>,
        kind: ResourceType,
        id: &str,
        resource: Value<'_>,
    ) -> bool {
        match &self.0 {
            Rules::Everything => true,
            Rules::Roots(roots) => {
                let subject = Subject::new(context, kind, id, resource);
                roots.iter().any(|root| root.says(&subject) == Some(Effect::Deny))
            }
        }
    }
}

/// Whether a Period surely holds at `now`. One that cannot be read, or whose dates leave it open, does not.
pub(crate) fn surely_covers(period: Value<'_>, now: Millis) -> bool {
    period::Period::read(period).is_some_and(|period| period.covers(now) == criterion::Match::Yes)
}

/// Reads Consents one by one, over as many pages as they come in.
pub struct ConsentsBuilder {
    patient: Id,
    upstream_base: String,
    budget: Budget,
    count: usize,
    /// `None` once something in force could not be read.
    roots: Option<Vec<Provision>>,
}

impl fmt::Debug for ConsentsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConsentsBuilder([sealed])")
    }
}

impl ConsentsBuilder {
    /// Starts with none. `upstream_base` is without a slash at its end.
    #[must_use]
    pub fn new(patient: &Id, upstream_base: &str) -> Self {
        Self {
            patient: patient.clone(),
            upstream_base: upstream_base.to_owned(),
            budget: Budget::default(),
            count: 0,
            roots: Some(Vec::new()),
        }
    }

    /// Takes one `entry.resource` of a searchset. Other types and other patients' Consents are passed over; what is no
    /// resource at all may have been a Consent, so from then on everything is denied.
    pub fn add(&mut self, resource: Value<'_>) {
        let Some(kind) = resource.get_str("resourceType") else {
            self.roots = None;
            return;
        };
        if kind != "Consent" || self.is_foreign(resource) || !is_in_force(resource) || !is_about_privacy(resource) {
            return;
        }
        self.count += 1;
        let root = if self.count > CONSENTS_MAX {
            None
        } else {
            provision::read_consent(resource, &self.upstream_base, is_opt_out(resource), &mut self.budget)
        };
        match (root, &mut self.roots) {
            (Some(root), Some(roots)) => roots.extend(root),
            _ => self.roots = None,
        }
    }

    /// All that was read.
    #[must_use]
    pub fn build(self) -> Consents {
        Consents(self.roots.map_or(Rules::Everything, |roots| Rules::Roots(roots.into())))
    }

    /// Whether it names somebody else: another Patient, or one of another server. A Consent without a patient, or with
    /// one that cannot be told (a logical reference), was found by a search for this one: it may be theirs and counts.
    fn is_foreign(&self, consent: Value<'_>) -> bool {
        let Some(text) = consent.get("patient").and_then(|patient| patient.get_str("reference")) else { return false };
        match references::parse(&text) {
            Reference::Relative { kind, id, .. } => kind != ResourceType::PATIENT || id != self.patient.as_str(),
            Reference::Absolute { base, kind, id, .. } => {
                base != self.upstream_base || kind != ResourceType::PATIENT || id != self.patient.as_str()
            }
            Reference::Fragment(_) | Reference::Other(_) => false,
        }
    }
}

/// R4 consent-state-codes: every code but `active` says that it does not hold.
fn is_in_force(consent: Value<'_>) -> bool {
    let status = consent.get_str("status");
    !matches!(status.as_deref(), Some("draft" | "proposed" | "rejected" | "inactive" | "entered-in-error"))
}

fn is_about_privacy(consent: Value<'_>) -> bool {
    const CONSENT_SCOPE: &str = "http://terminology.hl7.org/CodeSystem/consentscope";
    let (mut other, mut privacy) = (false, false);
    consent.at_path(&["scope", "coding"], &mut |coding| {
        let code = coding.get_str("code");
        let known = coding.get("system").is_some_and(|system| system.is_str(CONSENT_SCOPE))
            && matches!(code.as_deref(), Some("research" | "adr" | "treatment"));
        other |= known;
        privacy |= !known;
    });
    privacy || !other
}

/// Whether `policyRule` or `category` carries a general opt-out, by v3-ActCode or consentcategorycodes.
fn is_opt_out(consent: Value<'_>) -> bool {
    let mut found = false;
    for element in ["policyRule", "category"] {
        consent.at_path(&[element, "coding"], &mut |coding| {
            let code = coding.get_str("code");
            let system = coding.get_str("system");
            found |= match code.as_deref() {
                Some("OPTOUT" | "OPTOUTE" | "EMRGONLY") => {
                    system.is_none_or(|system| Vocabulary::of(&system) == Vocabulary::ActCode)
                }
                // Nothing here is an emergency: break-glass has a route of its own.
                Some("emrgonly") => true,
                _ => false,
            };
        });
    }
    found
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
