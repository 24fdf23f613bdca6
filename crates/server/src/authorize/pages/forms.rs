//! What the pages' forms send back, read strictly: known names, each once, within limits.

use std::collections::BTreeSet;

use oauth::form::{Form, InvalidForm, LISTED_BYTES_MAX};
use zeroize::Zeroizing;

/// Largest body of any page's form, for the handler that reads it.
pub const PAGE_FORM_BYTES_MAX: usize = LISTED_BYTES_MAX;
/// Longest user name; the longest e-mail address (RFC 5321 §4.5.3.1) and more.
pub const USERNAME_BYTES_MAX: usize = 320;
/// Longest password: NIST SP 800-63B asks for 64 characters at least, of up to four bytes; longer ones only cost hashing.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Longest interaction handle, CSRF token, patient or grant value; ours are below 100.
pub const HANDLE_BYTES_MAX: usize = 256;
/// Longest search for a patient.
pub const SEARCH_BYTES_MAX: usize = 200;

/// Why a page's form is not one of ours.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidPageForm {
    /// No form at all.
    #[error(transparent)]
    Form(#[from] InvalidForm),
    /// A field that no page has.
    #[error("the form has a field that is not known")]
    Unknown,
    /// A field that every such page has is not there.
    #[error("the form has no `{0}`")]
    Missing(&'static str),
    /// A field is longer than anything we put there or take.
    #[error("`{0}` is too long")]
    Long(&'static str),
    /// The decision is neither `allow` nor `deny`.
    #[error("the form has no decision")]
    Decision,
}

/// What proves which page a form is of; check both before anything else is looked at.
#[derive(Clone, Eq, PartialEq)]
pub struct Sent {
    /// The interaction.
    pub request: String,
    /// The token.
    pub csrf: String,
}

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sent([sealed])")
    }
}

/// A local account's name and password.
pub struct SignInForm {
    /// Which page.
    pub sent: Sent,
    /// The name.
    pub username: String,
    /// The password; wiped when dropped.
    pub password: Zeroizing<String>,
}

impl std::fmt::Debug for SignInForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignInForm([sealed])")
    }
}

/// A chosen patient, or a search for one.
#[derive(Clone)]
pub struct PickerForm {
    /// Which page.
    pub sent: Sent,
    /// The row's value; `None` when none was chosen.
    pub patient: Option<String>,
    /// What is searched, when the search button was used.
    pub search: Option<String>,
}

impl std::fmt::Debug for PickerForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PickerForm([sealed])")
    }
}

/// Yes or no.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// What is ticked.
    Allow,
    /// Nothing.
    Deny,
}

/// What a person decided.
#[derive(Clone, Debug)]
pub struct ConsentForm {
    /// Which page.
    pub sent: Sent,
    /// Yes or no.
    pub decision: Decision,
    /// The ids that are ticked, for `oauth::choice::keep`.
    pub ticked: BTreeSet<String>,
}

/// An access to end.
#[derive(Clone, Debug)]
pub struct RevokeForm {
    /// The token.
    pub csrf: String,
    /// The grant's value.
    pub revoke: String,
}

/// Reads the sign-in page's form. An empty password is one that is wrong, not a broken form.
///
/// # Errors
/// What is wrong with it.
pub fn read_sign_in(body: &[u8]) -> Result<SignInForm, InvalidPageForm> {
    let form = read(body, &["request", "csrf", "username", "password"])?;
    let username = optional(&form, "username", USERNAME_BYTES_MAX)?.unwrap_or_default();
    let password = Zeroizing::new(optional(&form, "password", PASSWORD_BYTES_MAX)?.unwrap_or_default());
    Ok(SignInForm { sent: sent(&form)?, username, password })
}

/// Reads the picker's form.
///
/// # Errors
/// What is wrong with it.
pub fn read_picker(body: &[u8]) -> Result<PickerForm, InvalidPageForm> {
    let form = read(body, &["request", "csrf", "patient", "search", "find"])?;
    let search = optional(&form, "search", SEARCH_BYTES_MAX)?;
    let search = form.get("find").map(|_| search.unwrap_or_default());
    Ok(PickerForm { sent: sent(&form)?, patient: optional(&form, "patient", HANDLE_BYTES_MAX)?, search })
}

/// Reads the consent page's form.
///
/// # Errors
/// What is wrong with it.
pub fn read_consent(body: &[u8]) -> Result<ConsentForm, InvalidPageForm> {
    let (form, ticked) = Form::read_listed(body, "grant")?;
    known(&form, &["request", "csrf", "decision"])?;
    let decision = match form.get("decision") {
        Some("allow") => Decision::Allow,
        Some("deny") => Decision::Deny,
        _ => return Err(InvalidPageForm::Decision),
    };
    Ok(ConsentForm { sent: sent(&form)?, decision, ticked })
}

/// Reads a revocation.
///
/// # Errors
/// What is wrong with it.
pub fn read_revoke(body: &[u8]) -> Result<RevokeForm, InvalidPageForm> {
    let form = read(body, &["csrf", "revoke"])?;
    Ok(RevokeForm { csrf: required(&form, "csrf")?, revoke: required(&form, "revoke")? })
}

/// Reads the sign-out button: its token.
///
/// # Errors
/// What is wrong with it.
pub fn read_sign_out(body: &[u8]) -> Result<String, InvalidPageForm> {
    required(&read(body, &["csrf"])?, "csrf")
}

fn read(body: &[u8], names: &[&str]) -> Result<Form, InvalidPageForm> {
    let form = Form::read(body)?;
    known(&form, names)?;
    Ok(form)
}

fn known(form: &Form, names: &[&str]) -> Result<(), InvalidPageForm> {
    form.unknown(names).map_or(Ok(()), |_| Err(InvalidPageForm::Unknown))
}

fn sent(form: &Form) -> Result<Sent, InvalidPageForm> {
    Ok(Sent { request: required(form, "request")?, csrf: required(form, "csrf")? })
}

fn required(form: &Form, name: &'static str) -> Result<String, InvalidPageForm> {
    optional(form, name, HANDLE_BYTES_MAX)?.ok_or(InvalidPageForm::Missing(name))
}

fn optional(form: &Form, name: &'static str, most: usize) -> Result<Option<String>, InvalidPageForm> {
    match form.get(name) {
        Some(text) if text.len() > most => Err(InvalidPageForm::Long(name)),
        text => Ok(text.map(str::to_owned)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_come_back_as_they_were_made() {
        let form = read_consent(b"request=r&csrf=c&grant=patient%2FPatient&grant=a%3Fb&decision=allow").unwrap();
        assert_eq!(form.ticked, BTreeSet::from(["patient/Patient".to_owned(), "a?b".to_owned()]));
        assert_eq!((form.decision, form.sent.request.as_str(), form.sent.csrf.as_str()), (Decision::Allow, "r", "c"));
        assert_eq!(read_consent(b"request=r&csrf=c&decision=deny").unwrap().decision, Decision::Deny);
        let form = read_sign_in(b"request=r&csrf=c&username=a%40b&password=p+w").unwrap();
        assert_eq!((form.username.as_str(), form.password.as_str()), ("a@b", "p w"));
        assert!(!format!("{form:?}").contains("p w"));
        let form = read_picker(b"request=r&csrf=c&patient=P1&search=").unwrap();
        assert_eq!((form.patient.as_deref(), form.search), (Some("P1"), None));
        let form = read_picker(b"request=r&csrf=c&search=Ann&find=1").unwrap();
        assert_eq!((form.patient, form.search.as_deref()), (None, Some("Ann")));
        assert_eq!(read_revoke(b"csrf=c&revoke=g1").unwrap().revoke, "g1");
        assert_eq!(read_sign_out(b"csrf=c").unwrap(), "c");
    }

    #[test]
    fn what_no_page_of_ours_sends_is_refused() {
        for body in [
            "request=r&csrf=c&grant=a",
            "request=r&csrf=c&decision=",
            "request=r&csrf=c&decision=maybe",
            "request=r&csrf=c&decision=allow&decision=deny",
            "request=r&csrf=c&decision=allow&grant=a&grant=a",
            "request=r&decision=allow",
            "csrf=c&decision=allow",
            "request=r&csrf=c&decision=allow&scope=x",
            "request=r&csrf=%ff&decision=allow",
        ] {
            assert!(read_consent(body.as_bytes()).is_err(), "`{body}`");
        }
        let long = "x".repeat(HANDLE_BYTES_MAX + 1);
        assert_eq!(
            read_revoke(format!("csrf=c&revoke={long}").as_bytes()).unwrap_err(),
            InvalidPageForm::Long("revoke")
        );
        assert_eq!(read_revoke(b"csrf=c").unwrap_err(), InvalidPageForm::Missing("revoke"));
        assert_eq!(read_sign_out(b"csrf=c&x=1").unwrap_err(), InvalidPageForm::Unknown);
        let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
        assert!(read_sign_in(format!("request=r&csrf=c&username=a&password={long}").as_bytes()).is_err());
        assert!(read_picker(b"request=r&csrf=c&patient=a&patient=b").is_err());
    }
}
