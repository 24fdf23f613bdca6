//! Sessions: listed, shown, ended.

use axum::extract::{Path, State};
use axum::http::Uri;
use domain::SessionId;
use store::{SessionFilter, SessionRow};

use super::problem::ApiError;
use super::visit::Visit;
use super::{Answer, asked, ok, query, shapes};
use crate::registry::{EndSessionError, Registry};

pub(super) async fn list(State(registry): State<Registry>, visit: Visit, uri: Uri) -> Answer {
    let query = query(&uri, &["live", "integration", "limit"])?;
    let live: Option<bool> = asked(&query, "live")?;
    let filter = SessionFilter {
        integration: asked(&query, "integration")?,
        patient_tag: None,
        live_at: live.filter(|live| *live).map(|_| registry.0.clock.now()),
        before: None,
        limit: asked(&query, "limit")?.unwrap_or(100),
    };
    let rows = registry.0.store.sessions(visit.tenant()?, &filter).await?;
    ok(shapes::items(rows.iter().map(shapes::session)))
}

pub(super) async fn show(
    State(registry): State<Registry>,
    visit: Visit,
    Path((_, id)): Path<(String, String)>,
) -> Answer {
    ok(shapes::session(&find(&registry, &visit, &id).await?))
}

pub(super) async fn end(
    State(registry): State<Registry>,
    visit: Visit,
    Path((_, id)): Path<(String, String)>,
) -> Answer {
    let row = find(&registry, &visit, &id).await?;
    let id = row.session.id;
    if row.ended.is_some() {
        return ok(shapes::session(&row));
    }
    let ended = registry.end_session_as(visit.tenant()?, &id, visit.caller.person.as_str(), Some(&visit.caller)).await;
    match ended {
        Ok(_) => {}
        Err(EndSessionError::Store(why)) => return Err(why.into()),
        Err(EndSessionError::Record(_)) => {
            return Err(ApiError::unrecorded("the session has ended, but that could not be recorded"));
        }
    }
    ok(shapes::session(&find(&registry, &visit, &id.to_string()).await?))
}

async fn find(registry: &Registry, visit: &Visit, id: &str) -> Result<SessionRow, ApiError> {
    let id: SessionId = id.parse().map_err(|_| ApiError::missing("session"))?;
    let row = registry.0.store.find_session(&id).await?;
    let tenant = visit.tenant()?;
    row.filter(|row| row.session.tenant == *tenant).ok_or_else(|| ApiError::missing("session"))
}
