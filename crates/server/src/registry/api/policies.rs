//! An organisation's policies, as they are in force.

use axum::extract::State;
use orgpolicy::DEFAULT_TEXT;
use serde_json::json;

use super::visit::Visit;
use super::{Answer, ok};
use crate::registry::Registry;

pub(super) async fn show(State(registry): State<Registry>, visit: Visit) -> Answer {
    let snapshot = registry.snapshot();
    let tenant = visit.tenant()?;
    let own = snapshot.own_policies(tenant);
    let ids: Option<Vec<_>> = snapshot.policies(tenant).map(|policies| policies.infos().map(|info| &info.id).collect());
    ok(json!({
        "shipped": own.is_none(),
        "revision": own.map_or(0, |own| own.revision),
        "policies": ids,
        "text": own.map_or(DEFAULT_TEXT, |own| &own.text),
    }))
}
