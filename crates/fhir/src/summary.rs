//! Which top-level elements a projection keeps (FHIR R4 search, "Summary" and "Elements").

use std::sync::LazyLock;

use crate::ResourceType;
use crate::tables::{rows, type_count, words};

struct Elements {
    summary: &'static [&'static str],
    mandatory: &'static [&'static str],
}

static ELEMENTS: LazyLock<Vec<Elements>> = LazyLock::new(|| {
    let mut all: Vec<Elements> = (0..type_count()).map(|_| Elements { summary: &[], mandatory: &[] }).collect();
    for [kind, summary, mandatory, ..] in rows(include_str!("../tables/elements.tsv")) {
        if let Some(slot) = kind.parse::<ResourceType>().ok().and_then(|kind| all.get_mut(kind.index())) {
            *slot = Elements { summary: words(summary), mandatory: words(mandatory) };
        }
    }
    all
});

/// Top-level elements of `_summary=true`; choices by their concrete names.
#[must_use]
pub fn summary(kind: ResourceType) -> &'static [&'static str] {
    ELEMENTS.get(kind.index()).map_or(&[], |elements| elements.summary)
}

/// Top-level elements that must be there (minimum cardinality of one); of a choice every concrete name.
#[must_use]
pub fn mandatory(kind: ResourceType) -> &'static [&'static str] {
    ELEMENTS.get(kind.index()).map_or(&[], |elements| elements.mandatory)
}
