//! Identity providers at which people of the administration sign in, and what a sign-in there makes of them: an account that is known by
//! issuer and subject, and roles that last as long as the sign-in.

use aws_lc_rs::digest::{SHA256, digest};
use domain::audit::Phi;
use domain::{PersonId, Role, TenantId};
use store::{Roles, StoreError};

use super::Registry;
use super::people::Caller;
use crate::hex::hex;
use crate::identity::{IdentityProvider, RolesRefused, SignedIn};
use crate::keys::SYSTEM;

/// The alert that somebody's claims make them operator and privacy officer at once.
const CONFLICT: &str = "roles-conflict";
/// Hexadecimal digits of a person's name that is made from a hash: 128 bits.
const HASHED_CHARS: usize = 32;
/// Longest part of a person's id.
const PART_MAX: usize = 64;

/// A provider and whose people it knows.
#[derive(Debug)]
pub struct AdminProvider {
    /// The tenant in which its roles count; `None` is every tenant.
    pub tenant: Option<TenantId>,
    /// For people.
    pub name: String,
    /// The provider.
    pub provider: IdentityProvider,
}

impl AdminProvider {
    /// How it is named where a sign-in is kept: the tenant's id, or nothing.
    pub(crate) fn place(&self) -> &str {
        self.tenant.as_ref().map_or("", TenantId::as_str)
    }

    /// The roles of a sign-in here, where they count.
    pub(crate) fn roles(&self, roles: &[Role]) -> Roles {
        roles.iter().map(|role| (self.tenant.clone(), *role)).collect()
    }
}

impl Registry {
    /// Says where people of the administration sign in; only the first call counts.
    pub fn serve_providers(&self, providers: Vec<AdminProvider>) {
        let _ = self.0.providers.set(providers);
    }

    /// Where people of the administration sign in.
    pub(crate) fn providers(&self) -> &[AdminProvider] {
        self.0.providers.get().map_or(&[], Vec::as_slice)
    }

    /// The account of somebody who signed in, made when they come for the first time. `None`: every name for it is somebody else's.
    pub(crate) async fn person_at(&self, person: &SignedIn) -> Result<Option<PersonId>, StoreError> {
        let names = names(&person.issuer, &person.subject);
        let shown = person.name.as_deref().unwrap_or(&person.subject);
        self.0.store.person_at(&person.issuer, &person.subject, &names, shown, self.now()).await
    }

    /// The person behind a secret with the roles that count for it: of whoever signs in at a provider, those of this sign-in and no other;
    /// of everybody else, those that were granted. `None`: there is no such person.
    pub(crate) async fn caller(&self, person: PersonId, token: [u8; 32]) -> Result<Option<Caller>, StoreError> {
        let Some(row) = self.0.store.find_person(&person).await? else { return Ok(None) };
        let roles = if self.0.store.identity_of(&person).await?.is_some() {
            let given = self.0.store.provider_sign_in(&token, self.now()).await?;
            given.filter(|given| given.person == person).map(|given| given.roles).unwrap_or_default()
        } else {
            row.person.roles
        };
        Ok(Some(Caller { person, roles, token }))
    }

    /// Raises the alert that a person's claims would make them ask and approve.
    pub(crate) fn roles_refused(&self, person: &SignedIn, why: RolesRefused) {
        let RolesRefused::Conflict = why;
        if let Some(audit) = &self.0.audit {
            let text =
                "an identity provider's claims name somebody operator and privacy officer at once; they got no role";
            let attributes =
                vec![("issuer".to_owned(), person.issuer.clone()), ("subject".to_owned(), person.subject.clone())];
            audit.alert_soon(SYSTEM, CONFLICT, text, Phi { attributes, ..Phi::default() });
        }
    }
}

/// Names for the account of this subject, best first: the subject as the provider writes it where that fits the grammar, else by hash.
fn names(issuer: &str, subject: &str) -> Vec<PersonId> {
    let host = issuer.split_once("://").map_or("", |(_, rest)| rest).split(['/', ':']).next().unwrap_or_default();
    let fits =
        |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-'));
    let host = if !host.is_empty() && host.len() <= PART_MAX && fits(host) { host } else { "identity-provider" };
    // Length before text: no issuer and subject are another pair when written together.
    let whole = format!("{}:{issuer}{subject}", issuer.len());
    let hashed: String = hex(digest(&SHA256, whole.as_bytes()).as_ref()).chars().take(HASHED_CHARS).collect();
    [format!("{subject}@{host}"), format!("{hashed}@{host}")].iter().filter_map(|name| name.parse().ok()).collect()
}

#[test]
fn a_subject_is_a_name_where_it_can_be() {
    let said = |issuer: &str, subject: &str| names(issuer, subject).iter().map(ToString::to_string).collect::<Vec<_>>();
    let ada = said("https://idp.example:8443/realms/x", "ada");
    assert_eq!((ada.len(), ada[0].as_str()), (2, "ada@idp.example"));
    let odd = said("https://idp.example", "Ada Lovelace");
    assert!(odd.len() == 1 && odd[0].ends_with("@idp.example"), "{odd:?}");
    assert_eq!(said("http://[::1]:9", "ada")[0], "ada@identity-provider");
    assert_ne!(said("https://idp.example/1", "1 ")[0], said("https://idp.example/", "11 ")[0]);
    assert_eq!(said("https://idp.example", "dana@mercy.example").len(), 1, "two `@` are no name, so nobody's is taken");
}
