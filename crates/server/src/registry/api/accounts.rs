//! One's own account: the first people, signing in and out, the passphrase.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use domain::{PersonId, Reason, Role, TenantId};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{AddRefusal, NewPerson, RoleGrant};

use super::problem::ApiError;
use super::read::{Body, Fields, show_time};
use super::visit::{Attempt, Visit};
use super::{Answer, created, ok, shapes};
use crate::clock::random_text;
use crate::registry::Registry;
use crate::registry::entry::Entry;
use crate::registry::people::{TOKEN_IDLE, TOKEN_LIFE, credential_hash, passphrase_mistake};
use crate::registry::trail::Deed;

/// Most people created with the init credential.
const PEOPLE_MAX: usize = 20;

/// A role as people write it: `tenant` absent or null is every tenant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleBody {
    tenant: Option<TenantId>,
    role: Role,
}

impl RoleBody {
    pub(super) fn grant(self) -> RoleGrant {
        RoleGrant { tenant: self.tenant, role: self.role }
    }
}

/// A person as sent: checked in full, not yet hashed.
pub(super) struct PersonBody {
    pub id: PersonId,
    pub name: String,
    pub passphrase: String,
    pub roles: Vec<RoleGrant>,
}

/// Reads a person, or says everything that is wrong.
pub(super) fn person(registry: &Registry, mut fields: Fields) -> Result<PersonBody, Vec<String>> {
    let (id, name) = (fields.must("id"), fields.must::<String>("name"));
    let passphrase = fields.must::<String>("passphrase");
    let roles = fields.maybe::<Vec<RoleBody>>("roles").unwrap_or_default();
    if let Some(mistake) = passphrase.as_deref().and_then(passphrase_mistake) {
        fields.mistakes.push(mistake);
    }
    if name.as_ref().is_some_and(|name| name.trim().is_empty() || name.len() > 200) {
        fields.mistakes.push("`name` must have 1 to 200 bytes".into());
    }
    let roles: Vec<_> = roles.into_iter().map(RoleBody::grant).collect();
    for grant in &roles {
        if let Some(mistake) = registry.unknown_tenant(grant) {
            fields.mistakes.push(mistake);
        }
    }
    let read = (|| Some(PersonBody { id: id?, name: name?, passphrase: passphrase?, roles }))();
    fields.end(read)
}

impl Registry {
    /// A role in a tenant that does not exist would start to count if one of that name came.
    pub(super) fn unknown_tenant(&self, grant: &RoleGrant) -> Option<String> {
        let tenant = grant.tenant.as_ref()?;
        let known = self.0.tenants.iter().any(|known| known.id == *tenant);
        (!known).then(|| format!("`roles`: there is no tenant `{tenant}`"))
    }

    /// Hashes the passphrase of a person to be.
    pub(super) async fn hashed(&self, person: PersonBody) -> Result<NewPerson, ApiError> {
        let hash = self.0.passphrases.hash(&person.passphrase).await;
        let credential =
            hash.ok_or_else(|| ApiError::unavailable(Reason::Overloaded, "the passphrase could not be hashed"))?;
        Ok(NewPerson { id: person.id, name: person.name, credential, roles: person.roles })
    }
}

pub(super) fn add_refused(why: AddRefusal) -> ApiError {
    match why {
        AddRefusal::Credential => {
            ApiError::unauthorized(Reason::ClientInvalid, "the credential is unknown, used up or older than 24 hours")
        }
        AddRefusal::Exists(id) => ApiError::conflict(format!("`{id}` exists already")),
        AddRefusal::BothDuties(id) => both_duties(&id),
    }
}

pub(super) fn both_duties(id: &PersonId) -> ApiError {
    ApiError::conflict(format!("`{id}` would be operator and privacy-officer in one tenant; those are two people"))
}

/// A refusal that is recorded as an attempt to get in.
pub(super) fn attempted(why: ApiError, person: Option<PersonId>) -> Response {
    let mut response = why.into_response();
    response.extensions_mut().insert(Attempt(person));
    response
}

pub(super) async fn initialise(State(registry): State<Registry>, Body(mut fields): Body) -> Answer {
    let credential = fields.must::<String>("credential");
    let people = fields.must::<Vec<serde_json::Map<String, Value>>>("people").unwrap_or_default();
    if fields.mistakes.is_empty() && !(1..=PEOPLE_MAX).contains(&people.len()) {
        fields.mistakes.push(format!("`people` must hold 1 to {PEOPLE_MAX} people"));
    }
    let mut read = Vec::new();
    for (index, map) in people.into_iter().enumerate() {
        match person(&registry, Fields::new(map)) {
            Ok(one) => read.push(one),
            Err(mistakes) => {
                fields.mistakes.extend(mistakes.into_iter().map(|what| format!("person {}: {what}", index + 1)));
            }
        }
    }
    let credential = fields.end(credential).map_err(ApiError::mistakes)?;
    let now = registry.0.clock.now();
    // Whoever lacks the credential is turned away before any work is spent on hashing.
    let hash = credential_hash(&credential);
    if !registry.0.store.init_credential_usable(&hash, now).await? {
        return Ok(attempted(add_refused(AddRefusal::Credential), None));
    }
    let mut people = Vec::new();
    for one in read {
        people.push(registry.hashed(one).await?);
    }
    let ids: Vec<_> = people.iter().map(|person| person.id.to_string()).collect();
    let roles: Vec<_> = people
        .iter()
        .flat_map(|person| {
            person.roles.iter().map(move |grant| format!("{}: {}", person.id, shapes::grant_words(grant)))
        })
        .collect();
    let deed =
        Deed { noun: "person", verb: "initialise", id: ids.join(" "), note: roles.join("; "), ..Deed::default() };
    let intent = registry.0.trail.intend(None, &deed).await?;
    let done = registry.0.store.initialise(&hash, &people, now).await;
    let done = done.map_err(ApiError::from).and_then(|done| done.map_err(add_refused));
    let status = done.as_ref().map_or_else(|why| why.status.as_u16(), |()| 201);
    registry.0.trail.conclude(intent, crate::registry::plan::outcome(status), status, registry.feed()).await?;
    done.map_err(|why| ApiError { recorded: true, ..why })?;
    created(json!({ "created": ids }))
}

pub(super) async fn login(State(registry): State<Registry>, Body(mut fields): Body) -> Answer {
    let (name, passphrase) = (fields.must::<String>("person"), fields.must::<String>("passphrase"));
    let read = name.zip(passphrase);
    let (name, passphrase) = fields.end(read).map_err(ApiError::mistakes)?;
    let person = match registry.by_passphrase(&name, &passphrase).await? {
        Entry::In(person) => person,
        Entry::Wait(wait, person) => return Ok(attempted(ApiError::slow_down(wait), person)),
        Entry::Wrong(person) => {
            let why = ApiError::unauthorized(Reason::ClientInvalid, "person and passphrase do not fit");
            return Ok(attempted(why, person));
        }
        Entry::Passkey(person) => {
            let says = "you have a passkey, so the passphrase no longer signs you in: `hilum login PERSON --browser`";
            return Ok(attempted(ApiError::forbidden(Reason::PasskeyRequired, says), Some(person)));
        }
    };
    let inner = &registry.0;
    let secret = random_text()?;
    let now = inner.clock.now();
    let expires_at = now + TOKEN_LIFE;
    let deed = Deed { noun: "api-token", verb: "sign-in", id: person.to_string(), ..Deed::default() };
    let intent = inner.trail.intend(None, &deed).await?;
    inner.store.add_api_token(&credential_hash(&secret), &person, now, expires_at).await?;
    inner.trail.conclude(intent, domain::audit::Outcome::Success, 200, registry.feed()).await?;
    signed_in(&secret, &person, expires_at)
}

/// What somebody who got in is told.
pub(super) fn signed_in(token: &str, person: &PersonId, expires_at: domain::Millis) -> Answer {
    ok(json!({
        "token": token,
        "person": person,
        "expires_at": show_time(expires_at),
        "idle_seconds": TOKEN_IDLE / 1_000,
    }))
}

pub(super) async fn logout(State(registry): State<Registry>, visit: Visit) -> Answer {
    let deed = visit.deed(&visit.caller.person, "");
    let token = visit.caller.token;
    registry.carry_out(&visit, deed, async { Ok(registry.0.store.end_provider_sign_in(&token).await?) }).await?;
    ok(json!({ "signed_out": true }))
}

pub(super) async fn me(State(registry): State<Registry>, visit: Visit) -> Answer {
    let row = registry.0.store.find_person(&visit.caller.person).await?;
    let mut row = row.ok_or_else(|| ApiError::missing("person"))?;
    // Those of this sign-in, where they are not granted.
    row.person.roles = visit.caller.roles;
    ok(shapes::person(&row))
}

pub(super) async fn passphrase(State(registry): State<Registry>, visit: Visit, Body(mut fields): Body) -> Answer {
    let (current, new) = (fields.must::<String>("old"), fields.must::<String>("new"));
    if let Some(mistake) = new.as_deref().and_then(passphrase_mistake) {
        fields.mistakes.push(mistake.replace("passphrase", "new"));
    }
    let (current, new) = fields.end(current.zip(new)).map_err(ApiError::mistakes)?;
    let inner = &registry.0;
    let person = visit.caller.person.clone();
    let now = inner.clock.now();
    if let Some(wait) = inner.passphrases.wait(person.as_str(), now) {
        return Err(ApiError::slow_down(wait));
    }
    let hash = inner.store.find_credential(&person).await?;
    inner.passphrases.note(person.as_str(), now, false);
    if !inner.passphrases.verify(&current, hash).await {
        return Err(ApiError::forbidden(Reason::ClientInvalid, "`old` is not the passphrase"));
    }
    inner.passphrases.note(person.as_str(), now, true);
    let hash = inner.passphrases.hash(&new).await;
    let hash = hash.ok_or_else(|| ApiError::unavailable(Reason::Overloaded, "the passphrase could not be hashed"))?;
    let deed = visit.deed(&person, "");
    registry.carry_out(&visit, deed, async { Ok(inner.store.put_credential(&person, &hash, now).await?) }).await?;
    ok(json!({ "changed": true, "signed_out": true }))
}
