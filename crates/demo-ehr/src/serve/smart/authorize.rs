//! The authorization endpoint (SMART 2.2, "Obtain authorization code"), and what a person chooses there.

use super::answer::{page, pair, redirect, refusal, wrong_method};
use super::book::Asked;
use super::client::SmartClient;
use super::context::LaunchContext;
use super::form::Form;
use super::scope::{self, Start};
use super::{Smart, page, told};
use crate::fault::Fault;
use crate::requests::Seen;
use crate::serve::route::State;
use crate::serve::wire::Response;

/// An OAuth error and what is said with it.
type Refusal = (&'static str, String);

/// Where a browser goes back to, whatever comes out of it.
struct Way<'a> {
    redirect_uri: &'a str,
    state: Option<&'a str>,
}

impl Smart {
    /// Answers an authorization request, by GET or POST (AZ-01).
    pub(super) fn authorize(&self, seen: &Seen, state: &State, faults: &[Fault]) -> Response {
        let form = match seen.method.as_str() {
            "GET" => Some(Form::query(seen)),
            "POST" => Form::body(seen),
            _ => return wrong_method("GET, POST"),
        };
        let Some(form) = form else { return page(400, page::problem("the body is no form")) };
        // Nothing is ever sent to an address that is not the app's own (AZ-08).
        let repeated = form.repeated();
        if let Some(name @ ("client_id" | "redirect_uri")) = repeated {
            return page(400, page::problem(&format!("`{name}` comes more than once")));
        }
        let Some(client) = form.get("client_id").and_then(|id| self.clients.get(id)) else {
            return page(400, page::problem("no app is registered under this client_id"));
        };
        let uri = form.get("redirect_uri").filter(|uri| client.redirect_uris.iter().any(|own| own == uri));
        let Some(redirect_uri) = uri else {
            return page(400, page::problem("this redirect_uri is not registered for the app"));
        };
        let way = Way { redirect_uri, state: form.get("state").filter(|_| repeated != Some("state")) };
        if let Some(name) = repeated {
            return self.back(&way, Err(("invalid_request", format!("`{name}` comes more than once"))), faults);
        }
        match self.judged(&form, client, state) {
            Err(refusal) => self.back(&way, Err(refusal), faults),
            Ok((asked, Some(handle))) => {
                let answer = self.launched(asked, handle);
                self.back(&way, answer, faults)
            }
            Ok((asked, None)) => self.question(asked, &way, state, faults),
        }
    }

    /// What was asked for, if it may be, and the launch handle that came along.
    fn judged<'f>(
        &self,
        form: &'f Form,
        client: &SmartClient,
        state: &State,
    ) -> Result<(Asked, Option<&'f str>), Refusal> {
        let wrong = |says: &str| ("invalid_request", says.to_owned());
        let need = |name: &str| form.need(name).map_err(|says| ("invalid_request", says));
        if form.get("request").is_some() {
            return Err(("request_not_supported", "no request objects here".to_owned()));
        }
        if form.get("request_uri").is_some() {
            return Err(("request_uri_not_supported", "no request objects here".to_owned()));
        }
        if need("response_type")? != "code" {
            return Err(("unsupported_response_type", "only `code`".to_owned()));
        }
        if form.get("response_mode").is_some_and(|mode| mode != "query") {
            return Err(wrong("only response_mode `query`"));
        }
        let sent_state = need("state")?;
        if need("aud")? != state.base {
            return Err(wrong("`aud` is not the FHIR base of this EHR"));
        }
        if need("code_challenge_method")? != "S256" {
            return Err(wrong("only code_challenge_method `S256`"));
        }
        let challenge = need("code_challenge")?;
        let letters = challenge.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if challenge.len() != 43 || !letters {
            return Err(wrong("`code_challenge` is no SHA-256 in base64url"));
        }
        let asked_scope = need("scope")?;
        let handle = form.get("launch");
        let with_launch = asked_scope.split(' ').any(|scope| scope == "launch");
        if with_launch != handle.is_some() {
            return Err(wrong("the scope `launch` and the parameter `launch` belong together"));
        }
        let start = if handle.is_some() { Start::Ehr } else { Start::Alone };
        let granted = scope::granted(asked_scope, start);
        if granted.is_empty() {
            return Err(("invalid_scope", "none of these scopes can be granted".to_owned()));
        }
        if form.get("prompt") == Some("none") && start == Start::Alone {
            return Err(("login_required", "a person must choose".to_owned()));
        }
        let asked = Asked {
            client_id: client.client_id.clone(),
            redirect_uri: form.get("redirect_uri").unwrap_or("").to_owned(),
            state: sent_state.to_owned(),
            scope: granted,
            challenge: challenge.to_owned(),
            nonce: form.get("nonce").map(str::to_owned),
        };
        Ok((asked, handle))
    }

    /// A code for a launch from the EHR, where everything is chosen already. The handle is used up (LN-03).
    fn launched(&self, asked: Asked, handle: &str) -> Result<String, Refusal> {
        let (mut book, now) = (self.book(), self.clock.now());
        let context = book.launched(handle, &asked.client_id, now);
        let context =
            context.ok_or_else(|| ("invalid_request", "this launch is over, used, or another app's".to_owned()))?;
        granted(&mut book, asked, context, now)
    }

    /// The page on which a person signs in and opens a chart.
    fn question(&self, asked: Asked, way: &Way<'_>, state: &State, faults: &[Fault]) -> Response {
        let name = self.book().ask(asked.clone(), self.clock.now());
        match name {
            Some(name) => page(200, page::chooser(&asked, &name, state, None)),
            None => self.back(way, Err(unable()), faults),
        }
    }

    /// Answers what a person chose (`POST /authorize/choose`).
    pub(super) fn choose(&self, seen: &Seen, state: &State, faults: &[Fault]) -> Response {
        if seen.method != "POST" {
            return wrong_method("POST");
        }
        let Some(form) = Form::body(seen).filter(|form| form.repeated().is_none()) else {
            return refusal(400, "invalid_request", "no form, or something comes twice");
        };
        let name = form.get("request").unwrap_or("");
        let Some(asked) = self.book().asked(name, self.clock.now()).cloned() else {
            return page(400, page::problem("this request is over; start again from the app"));
        };
        let refuse = form.get("decision") != Some("allow");
        let context = if refuse { None } else { chosen(&form, &asked, state) };
        if !refuse && context.is_none() {
            let says = "choose a clinician and a patient who are in the list";
            return page(400, page::chooser(&asked, name, state, Some(says)));
        }
        let answer = {
            let (mut book, now) = (self.book(), self.clock.now());
            match (book.chosen(name, now), context) {
                (None, _) => return page(400, page::problem("this request is over; start again from the app")),
                (Some(_), None) => Err(("access_denied", "the person said no".to_owned())),
                (Some(asked), Some(context)) => granted(&mut book, asked, context, now),
            }
        };
        let way = Way { redirect_uri: &asked.redirect_uri, state: Some(&asked.state) };
        self.back(&way, answer, faults)
    }

    /// Sends the browser back to the app, with a code or an error, `state`, and `iss` (AZ-05, AZ-07, AZ-12).
    fn back(&self, way: &Way<'_>, answer: Result<String, Refusal>, faults: &[Fault]) -> Response {
        let mut pairs = match answer {
            Ok(code) => vec![pair("code", &code)],
            Err((error, says)) => vec![pair("error", error), pair("error_description", &says)],
        };
        let (mut issuer, mut state) = (self.issuer.as_str(), way.state);
        issuer = told(faults, |fault| match fault {
            Fault::AuthorizeIssuer(other) => Some(other.as_str()),
            _ => None,
        })
        .unwrap_or(issuer);
        state = told(faults, |fault| match fault {
            Fault::AuthorizeState(other) => Some(other.as_str()),
            _ => None,
        })
        .or(state);
        pairs.extend(state.map(|state| pair("state", state)));
        pairs.push(pair("iss", issuer));
        redirect(way.redirect_uri, &pairs)
    }
}

/// A code for what was asked, without the scopes that need a chart when none is open (CX-02).
fn granted(book: &mut super::Book, mut asked: Asked, context: LaunchContext, now: i64) -> Result<String, Refusal> {
    if context.patient.is_none() {
        asked.scope.retain(|scope| !scope::need_patient(std::slice::from_ref(scope)));
    }
    if asked.scope.is_empty() {
        return Err(("invalid_scope", "no chart is open".to_owned()));
    }
    book.grant(asked, context, now).ok_or_else(unable)
}

fn unable() -> Refusal {
    ("temporarily_unavailable", "no code can be made now".to_owned())
}

/// The context that a person chose; none when it is not all there.
fn chosen(form: &Form, asked: &Asked, state: &State) -> Option<LaunchContext> {
    let practitioner = form.get("practitioner").filter(|id| page::is_here(state, "Practitioner", id))?;
    if !scope::need_patient(&asked.scope) {
        return Some(LaunchContext::of(practitioner));
    }
    let patient = form.get("patient").filter(|id| page::is_here(state, "Patient", id))?;
    Some(LaunchContext::new(practitioner, patient))
}
