//! Task profiles: listed, shown, written once per version.

use axum::extract::{Path, State};
use axum::http::Uri;

use super::problem::ApiError;
use super::read::{self, Body};
use super::visit::Visit;
use super::{Answer, asked, ok, query, shapes};
use crate::registry::Registry;
use crate::registry::plan::Plan;

pub(super) async fn list(State(registry): State<Registry>, visit: Visit) -> Answer {
    let snapshot = registry.snapshot();
    ok(shapes::items(snapshot.profiles(visit.tenant()?).into_iter().map(|profile| shapes::task(profile))))
}

pub(super) async fn show(
    State(registry): State<Registry>,
    visit: Visit,
    uri: Uri,
    Path((_, name)): Path<(String, String)>,
) -> Answer {
    let asked_for: Option<u32> = asked(&query(&uri, &["version"])?, "version")?;
    let snapshot = registry.snapshot();
    let mut all = snapshot.profiles(visit.tenant()?).into_iter();
    let fits = |version: &u32| asked_for.is_none_or(|wanted| wanted == *version);
    let profile = all.rfind(|profile| profile.name.as_str() == name && fits(&profile.version));
    ok(shapes::task(profile.ok_or_else(|| ApiError::missing("task"))?))
}

pub(super) async fn put(
    State(registry): State<Registry>,
    visit: Visit,
    Path((_, name, version)): Path<(String, String, String)>,
    Body(mut fields): Body,
) -> Answer {
    fields.named("name", name.as_str());
    let version: u32 = version.parse().map_err(|_| ApiError::malformed("the version is not a number"))?;
    fields.named("version", version);
    let profile = read::task(visit.tenant()?, fields).map_err(ApiError::mistakes)?;
    let _one = registry.0.changing.lock().await;
    let mut plan = Plan::new(&registry.snapshot(), registry.0.clock.now());
    plan.task(visit.tenant()?, profile.clone()).map_err(ApiError::mistakes)?;
    let note = serde_json::to_string(&profile).unwrap_or_default();
    registry.write_plan(&visit, visit.deed(profile.reference(), note), &plan).await?;
    ok(shapes::task(&profile))
}
