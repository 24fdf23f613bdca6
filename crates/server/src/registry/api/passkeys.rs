//! Passkeys of people, as others manage them: seen, and taken away when lost. People enrol their own on the pages (`console`).

use axum::extract::{Path, State};
use serde::Serialize;
use store::{Passkey, PasskeyGone, RoleGrant};
use utoipa::ToSchema;

use super::people::{find, may_manage, not_oneself};
use super::problem::ApiError;
use super::read::show_time;
use super::visit::Visit;
use super::{Answer, ok, shapes};
use crate::registry::Registry;

/// One passkey of a person.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PasskeyShape {
    /// Its id here.
    pub id: String,
    /// What its holder calls it.
    pub name: String,
    /// When it was enrolled.
    pub created_at: String,
    /// When it last signed its holder in.
    pub used_at: Option<String>,
}

fn shape(passkey: &Passkey) -> PasskeyShape {
    PasskeyShape {
        id: passkey.id.clone(),
        name: passkey.name.clone(),
        created_at: show_time(passkey.created_at),
        used_at: passkey.used_at.map(show_time),
    }
}

pub(super) async fn list(State(registry): State<Registry>, _: Visit, Path(id): Path<String>) -> Answer {
    let person = find(&registry, &id).await?.person.id;
    ok(shapes::items(registry.0.store.passkeys(&person).await?.iter().map(shape)))
}

pub(super) async fn remove(
    State(registry): State<Registry>,
    visit: Visit,
    Path((id, passkey)): Path<(String, String)>,
) -> Answer {
    let row = find(&registry, &id).await?;
    not_oneself(&visit, &row)?;
    let held: Vec<_> =
        row.person.roles.iter().map(|(tenant, role)| RoleGrant { tenant: tenant.clone(), role: *role }).collect();
    may_manage(&registry, &visit, &held).await?;
    let person = row.person.id;
    let store = &registry.0.store;
    let passkeys = store.passkeys(&person).await?;
    let last = passkeys.len() == 1 && passkeys.iter().all(|one| one.id == passkey);
    let note = if last { "the last one: the passphrase signs in again until a new passkey is enrolled" } else { "" };
    let deed = visit.deed(format!("{person} {}", passkey.chars().take(64).collect::<String>()), note);
    let gone = registry
        .carry_out(&visit, deed, async {
            match store.remove_passkey(&person, &passkey, true).await? {
                PasskeyGone::Unknown | PasskeyGone::Kept => {
                    Err(ApiError { detail: "they have no such passkey".into(), ..ApiError::missing("passkey") })
                }
                gone => Ok(gone),
            }
        })
        .await?;
    ok(serde_json::json!({ "removed": passkey, "passphrase_works_again": gone == PasskeyGone::Last }))
}
