//! Whose a resource is: stricter than the compartment (reference policy p3, p4, p12).

use std::sync::LazyLock;

use crate::structure::patient_elements;
use crate::tables::{rows, type_count};
use crate::{ElementPath, ResourceType};

/// By what a resource is a patient's own. For a type in the compartment, this is required besides membership.
#[derive(Clone, Copy, Debug)]
pub enum OwnerRule {
    /// A Patient: its id is the patient's.
    Own,
    /// The primary subject stands here, is present and is the patient.
    Primary(&'static [ElementPath]),
    /// Several parties: every reference to a Patient in these elements is to the patient. They are all elements that
    /// may point to a Patient (extensions apart), so the stricter of p3 and p12 is taken.
    EveryParty(&'static [ElementPath]),
    /// Outside the compartment, but owned through these elements.
    Added(&'static [ElementPath]),
    /// Nobody's: outside the compartment, and without a rule.
    Outside,
}

/// The types of p4 that a tenant may share with every session, and does by default.
pub const SHARED_DEFAULT: &[ResourceType] = &[
    ResourceType::CODE_SYSTEM,
    ResourceType::CONCEPT_MAP,
    ResourceType::LOCATION,
    ResourceType::MEDICATION,
    ResourceType::NAMING_SYSTEM,
    ResourceType::ORGANIZATION,
    ResourceType::PRACTITIONER,
    ResourceType::PRACTITIONER_ROLE,
    ResourceType::VALUE_SET,
];

static RULES: LazyLock<Vec<OwnerRule>> = LazyLock::new(|| {
    let mut rules = vec![OwnerRule::Outside; type_count()];
    for [name, rule, paths, ..] in rows(include_str!("../tables/owner.tsv")) {
        let Ok(kind) = name.parse::<ResourceType>() else { continue };
        let Some(slot) = rules.get_mut(kind.index()) else { continue };
        *slot = match rule {
            "own" => OwnerRule::Own,
            "primary" => OwnerRule::Primary(ElementPath::parse_list(paths)),
            "every" => OwnerRule::EveryParty(patient_elements(kind).leak()),
            "added" => OwnerRule::Added(ElementPath::parse_list(paths)),
            _ => OwnerRule::Outside,
        };
    }
    rules
});

/// The owner rule of type `kind`.
#[must_use]
pub fn rule(kind: ResourceType) -> OwnerRule {
    RULES.get(kind.index()).copied().unwrap_or(OwnerRule::Outside)
}

/// Whether a tenant may share type `kind` at all (p4).
#[must_use]
pub fn shareable(kind: ResourceType) -> bool {
    SHARED_DEFAULT.contains(&kind)
}
