//! The R4 patient compartment: by which elements a resource belongs to a patient.

use std::sync::LazyLock;

use crate::tables::{rows, type_count};
use crate::{ElementPath, ResourceType};

static PATHS: LazyLock<Vec<&'static [ElementPath]>> = LazyLock::new(|| {
    let mut paths: Vec<&'static [ElementPath]> = vec![&[]; type_count()];
    for [kind, list, ..] in rows(include_str!("../tables/compartment.tsv")) {
        if let Some(slot) = kind.parse::<ResourceType>().ok().and_then(|kind| paths.get_mut(kind.index())) {
            *slot = ElementPath::parse_list(list);
        }
    }
    paths
});

/// The elements by which a resource of type `kind` is in a patient's compartment; none: outside of it.
#[must_use]
pub fn patient_paths(kind: ResourceType) -> &'static [ElementPath] {
    PATHS.get(kind.index()).copied().unwrap_or_default()
}
