//! People as others manage them: created, given roles, switched off.
//!
//! Who may give a role: for `privacy-officer`, a privacy officer of that place (or an operator while there is none yet);
//! for the others, an operator or privacy officer of that place. Nobody changes their own.

use axum::extract::{Path, State};
use domain::{PersonId, Reason, Role};
use store::{GrantRefusal, PersonRow, RoleGrant};

use super::accounts::{self, both_duties};
use super::problem::ApiError;
use super::read::{Body, Fields};
use super::visit::Visit;
use super::{Answer, created, ok, shapes};
use crate::registry::Registry;

pub(super) async fn list(State(registry): State<Registry>, _: Visit) -> Answer {
    ok(shapes::items(registry.0.store.people().await?.iter().map(shapes::person)))
}

pub(super) async fn show(State(registry): State<Registry>, _: Visit, Path(id): Path<String>) -> Answer {
    ok(shapes::person(&find(&registry, &id).await?))
}

pub(super) async fn create(State(registry): State<Registry>, visit: Visit, Body(fields): Body) -> Answer {
    let person = accounts::person(&registry, fields).map_err(ApiError::mistakes)?;
    may_manage(&registry, &visit, &person.roles).await?;
    let person = registry.hashed(person).await?;
    let roles: Vec<_> = person.roles.iter().map(shapes::grant_words).collect();
    let deed = visit.deed(&person.id, roles.join("; "));
    let (by, now) = (visit.caller.person.to_string(), registry.0.clock.now());
    registry
        .carry_out(&visit, deed, async {
            registry.0.store.add_person(&person, &by, now).await?.map_err(accounts::add_refused)
        })
        .await?;
    created(shapes::person(&find(&registry, person.id.as_str()).await?))
}

pub(super) async fn grant(
    State(registry): State<Registry>,
    visit: Visit,
    Path(id): Path<String>,
    Body(fields): Body,
) -> Answer {
    let (row, grant) = role(&registry, &visit, &id, fields).await?;
    not_at_a_provider(&registry, &row).await?;
    let person = row.person.id;
    let deed = visit.deed(&person, shapes::grant_words(&grant));
    let (by, now) = (&visit.caller.person, registry.0.clock.now());
    registry
        .carry_out(&visit, deed, async {
            match registry.0.store.grant_role(&person, &grant, by, now).await? {
                Ok(()) => Ok(()),
                Err(GrantRefusal::Unknown) => Err(nobody()),
                Err(GrantRefusal::BothDuties) => Err(both_duties(&person)),
            }
        })
        .await?;
    ok(shapes::person(&find(&registry, person.as_str()).await?))
}

/// Roles of people who sign in at an identity provider are given there, for one sign-in; a standing grant would outlive it.
async fn not_at_a_provider(registry: &Registry, row: &PersonRow) -> Result<(), ApiError> {
    match registry.0.store.identity_of(&row.person.id).await? {
        None => Ok(()),
        Some((issuer, _)) => Err(ApiError::conflict(format!("`{}` gets roles at `{issuer}` alone", row.person.id))),
    }
}

pub(super) async fn revoke(
    State(registry): State<Registry>,
    visit: Visit,
    Path(id): Path<String>,
    Body(fields): Body,
) -> Answer {
    let (row, grant) = role(&registry, &visit, &id, fields).await?;
    let person = row.person.id;
    let deed = visit.deed(&person, shapes::grant_words(&grant));
    let gone =
        registry.carry_out(&visit, deed, async { Ok(registry.0.store.revoke_role(&person, &grant).await?) }).await?;
    if !gone {
        return Err(ApiError::conflict(format!("`{person}` is not {}", shapes::grant_words(&grant))));
    }
    ok(shapes::person(&find(&registry, person.as_str()).await?))
}

pub(super) async fn disable(State(registry): State<Registry>, visit: Visit, Path(id): Path<String>) -> Answer {
    switch(registry, visit, &id, Switch::Off).await
}

pub(super) async fn enable(State(registry): State<Registry>, visit: Visit, Path(id): Path<String>) -> Answer {
    switch(registry, visit, &id, Switch::On).await
}

#[derive(Clone, Copy)]
enum Switch {
    On,
    Off,
}

async fn switch(registry: Registry, visit: Visit, id: &str, to: Switch) -> Answer {
    let row = find(&registry, id).await?;
    not_oneself(&visit, &row)?;
    let held: Vec<_> =
        row.person.roles.iter().map(|(tenant, role)| RoleGrant { tenant: tenant.clone(), role: *role }).collect();
    may_manage(&registry, &visit, &held).await?;
    let person = row.person.id;
    let at = match to {
        Switch::On => None,
        Switch::Off => Some(registry.0.clock.now()),
    };
    let deed = visit.deed(&person, "");
    registry.carry_out(&visit, deed, async { Ok(registry.0.store.disable_person(&person, at).await?) }).await?;
    ok(shapes::person(&find(&registry, person.as_str()).await?))
}

async fn role(
    registry: &Registry,
    visit: &Visit,
    id: &str,
    mut fields: Fields,
) -> Result<(PersonRow, RoleGrant), ApiError> {
    let tenant = fields.maybe("tenant");
    let role: Option<Role> = fields.must("role");
    let grant = fields.end(role).map(|role| RoleGrant { tenant, role }).map_err(ApiError::mistakes)?;
    if let Some(mistake) = registry.unknown_tenant(&grant) {
        return Err(ApiError::mistakes([mistake]));
    }
    let row = find(registry, id).await?;
    not_oneself(visit, &row)?;
    may_manage(registry, visit, std::slice::from_ref(&grant)).await?;
    Ok((row, grant))
}

pub(super) fn not_oneself(visit: &Visit, row: &PersonRow) -> Result<(), ApiError> {
    if visit.caller.person == row.person.id {
        return Err(ApiError::forbidden(
            Reason::SelfApproval,
            "nobody changes their own account or roles; ask another person",
        ));
    }
    Ok(())
}

pub(super) async fn may_manage(registry: &Registry, visit: &Visit, grants: &[RoleGrant]) -> Result<(), ApiError> {
    for grant in grants {
        let place = grant.tenant.as_ref();
        let caller = &visit.caller;
        let officer = caller.holds(place, Role::PrivacyOfficer);
        let operator = caller.holds(place, Role::Operator);
        let allowed = match grant.role {
            Role::PrivacyOfficer => officer || (operator && !has_officer(registry, grant).await?),
            Role::Operator | Role::Auditor => officer || operator,
        };
        if !allowed {
            let says = format!(
                "{}: only a privacy officer, or for other roles an operator, of that place may",
                shapes::grant_words(grant)
            );
            return Err(ApiError::forbidden(Reason::RoleInsufficient, says));
        }
    }
    Ok(())
}

/// Whether anyone is privacy officer in that place; one switched off counts, or an operator could make room for a friend.
async fn has_officer(registry: &Registry, grant: &RoleGrant) -> Result<bool, ApiError> {
    let people = registry.0.store.people().await?;
    let mut roles = people.iter().flat_map(|row| &row.person.roles);
    Ok(roles.any(|(tenant, role)| {
        *role == Role::PrivacyOfficer && (tenant.is_none() || grant.tenant.is_none() || *tenant == grant.tenant)
    }))
}

pub(super) async fn find(registry: &Registry, id: &str) -> Result<PersonRow, ApiError> {
    let id: PersonId = id.parse().map_err(|_| nobody())?;
    registry.0.store.find_person(&id).await?.ok_or_else(nobody)
}

fn nobody() -> ApiError {
    ApiError { detail: "there is no such person".into(), ..ApiError::missing("person") }
}
