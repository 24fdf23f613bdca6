//! Integrations: registered, changed, switched off and on.

use axum::extract::{Path, State};
use domain::{Integration, IntegrationId, IntegrationStatus};

use super::problem::ApiError;
use super::read::{self, Body, Fields};
use super::visit::Visit;
use super::{Answer, ok, shapes};
use crate::registry::Registry;
use crate::registry::plan::Plan;
use crate::registry::snapshot::{Held, Snapshot};

/// Longest reason given for switching something.
const REASON_MAX: usize = 1_000;

pub(super) async fn list(State(registry): State<Registry>, visit: Visit) -> Answer {
    let snapshot = registry.snapshot();
    let all = snapshot.integrations(visit.tenant()?);
    ok(shapes::items(all.into_iter().map(|held| shapes::integration(&snapshot, held))))
}

pub(super) async fn show(
    State(registry): State<Registry>,
    visit: Visit,
    Path((_, id)): Path<(String, String)>,
) -> Answer {
    let snapshot = registry.snapshot();
    ok(shapes::integration(&snapshot, find(&snapshot, &visit, &id)?))
}

pub(super) async fn put(
    State(registry): State<Registry>,
    visit: Visit,
    Path((_, id)): Path<(String, String)>,
    Body(mut fields): Body,
) -> Answer {
    fields.named("id", id.as_str());
    let (integration, keys) = read::integration(visit.tenant()?, fields).map_err(ApiError::mistakes)?;
    let note = serde_json::to_string(&integration).unwrap_or_default();
    let _one = registry.0.changing.lock().await;
    let mut plan = Plan::new(&registry.snapshot(), registry.0.clock.now());
    let id = integration.id.clone();
    plan.integration(integration, keys).map_err(ApiError::mistakes)?;
    registry.write_plan(&visit, visit.deed(&id, note), &plan).await?;
    let snapshot = registry.snapshot();
    ok(shapes::integration(&snapshot, find(&snapshot, &visit, id.as_str())?))
}

pub(super) async fn suspend(state: State<Registry>, visit: Visit, path: Path<(String, String)>, body: Body) -> Answer {
    switch(state, visit, path, body, IntegrationStatus::Suspended).await
}

pub(super) async fn resume(state: State<Registry>, visit: Visit, path: Path<(String, String)>, body: Body) -> Answer {
    switch(state, visit, path, body, IntegrationStatus::Active).await
}

pub(super) async fn end(state: State<Registry>, visit: Visit, path: Path<(String, String)>, body: Body) -> Answer {
    switch(state, visit, path, body, IntegrationStatus::Ended).await
}

async fn switch(
    State(registry): State<Registry>,
    visit: Visit,
    Path((_, id)): Path<(String, String)>,
    Body(fields): Body,
    to: IntegrationStatus,
) -> Answer {
    let reason = reason(fields)?;
    let _one = registry.0.changing.lock().await;
    let snapshot = registry.snapshot();
    let held = find(&snapshot, &visit, &id)?;
    match (held.value.status, to) {
        (IntegrationStatus::Ended, _) => return Err(ApiError::conflict("it has ended for good")),
        (IntegrationStatus::Suspended, IntegrationStatus::Active)
        | (_, IntegrationStatus::Suspended | IntegrationStatus::Ended) => {}
        (_, IntegrationStatus::Requested) | (IntegrationStatus::Requested, IntegrationStatus::Active) => {
            return Err(ApiError::conflict("it was only requested: register it with `hilum apply`"));
        }
        (IntegrationStatus::Active, IntegrationStatus::Active) => {
            return Err(ApiError::conflict("it is not suspended"));
        }
    }
    let mut plan = Plan::new(&snapshot, registry.0.clock.now());
    if held.value.status != to {
        plan.status(held, to, &visit.caller.person);
    }
    registry.write_plan(&visit, visit.deed(&id, reason), &plan).await?;
    let snapshot = registry.snapshot();
    ok(shapes::integration(&snapshot, find(&snapshot, &visit, &id)?))
}

/// The reason given for switching something; the record keeps it.
pub(super) fn reason(mut fields: Fields) -> Result<String, ApiError> {
    let reason = fields.must::<String>("reason");
    if reason.as_ref().is_some_and(|reason| reason.trim().is_empty() || reason.len() > REASON_MAX) {
        fields.mistakes.push(format!("`reason` must have 1 to {REASON_MAX} bytes"));
    }
    fields.end(reason).map_err(ApiError::mistakes)
}

fn find<'a>(snapshot: &'a Snapshot, visit: &Visit, id: &str) -> Result<&'a Held<Integration>, ApiError> {
    let id: IntegrationId = id.parse().map_err(|_| ApiError::missing("integration"))?;
    snapshot.held_integration(visit.tenant()?, &id).ok_or_else(|| ApiError::missing("integration"))
}
