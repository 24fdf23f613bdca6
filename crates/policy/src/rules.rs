//! What a tenant has configured or learned of its upstream, as far as decisions need it.

use std::collections::BTreeSet;

use fhir::ResourceType;

/// Rules of one tenant. Empty grants nothing: no shared type, no page above `count_max`.
#[derive(Clone, Debug)]
pub struct TenantRules {
    /// The upstream's FHIR base, without a slash at its end.
    pub upstream_base: String,
    /// Our own FHIR base for this tenant, without a slash at its end.
    pub public_base: String,
    /// Types outside the compartment that this tenant shares (p4); one that may not be shared has no effect here.
    pub shared: BTreeSet<ResourceType>,
    /// What is known of the upstream's search filters.
    pub filters: Filters,
    /// The largest `_count` sent upstream.
    pub count_max: u32,
}

/// Which search filters the upstream is known to apply, and which it was seen to ignore.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    /// `(type, parameter)` declared or proved to filter by patient. A type without an entry uses its usual parameter.
    pub proved: BTreeSet<(ResourceType, String)>,
    /// `(type, parameter)` that let a foreign match through: refused until `hilum check` has proved it again.
    pub poisoned: BTreeSet<(ResourceType, String)>,
}

impl Filters {
    pub(crate) fn is_poisoned(&self, kind: ResourceType, param: &str) -> bool {
        self.poisoned.iter().any(|(k, p)| *k == kind && p == param)
    }

    pub(crate) fn proved_for(&self, kind: ResourceType) -> impl Iterator<Item = &str> {
        self.proved.iter().filter(move |(k, _)| *k == kind).map(|(_, param)| param.as_str())
    }
}
