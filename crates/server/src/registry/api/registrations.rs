//! Requests to be registered: shown, and rejected. What is accepted is applied as a manifest, like everything else.

use axum::extract::{Path, State};
use domain::IntegrationId;
use store::RegistrationRow;

use super::integrations::reason;
use super::problem::ApiError;
use super::read::Body;
use super::visit::Visit;
use super::{Answer, ok, shapes};
use crate::registry::Registry;

pub(super) async fn list(State(registry): State<Registry>, visit: Visit) -> Answer {
    let rows = registry.0.store.registrations(visit.tenant()?, registry.0.clock.now()).await?;
    ok(shapes::items(rows.iter().map(shapes::registration)))
}

pub(super) async fn show(
    State(registry): State<Registry>,
    visit: Visit,
    Path((_, id)): Path<(String, String)>,
) -> Answer {
    ok(shapes::registration(&find(&registry, &visit, &id).await?))
}

pub(super) async fn reject(
    State(registry): State<Registry>,
    visit: Visit,
    Path((_, id)): Path<(String, String)>,
    Body(fields): Body,
) -> Answer {
    let reason = reason(fields)?;
    let row = find(&registry, &visit, &id).await?;
    let rejected = async {
        let at = registry.0.clock.now();
        match registry.0.store.reject_registration(visit.tenant()?, &row.id, at).await? {
            true => Ok(()),
            false => Err(ApiError::conflict("it was decided before")),
        }
    };
    registry.carry_out(&visit, visit.deed(&row.id, reason), rejected).await?;
    ok(shapes::registration(&find(&registry, &visit, &id).await?))
}

async fn find(registry: &Registry, visit: &Visit, id: &str) -> Result<RegistrationRow, ApiError> {
    let missing = || ApiError::missing("registration request");
    let id: IntegrationId = id.parse().map_err(|_| missing())?;
    registry.0.store.find_registration(visit.tenant()?, &id, registry.0.clock.now()).await?.ok_or_else(missing)
}
