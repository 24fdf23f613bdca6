//! The token endpoint for apps, and revocation (SMART 2.2, "Obtain access token"; RFC 7009).

use serde_json::{Map, Value, json};

use super::answer::{data, empty, refusal, wrong_method};
use super::book::{Issued, Redeem, RedeemError, Renew};
use super::form::Form;
use super::{Smart, told};
use crate::fault::{Fault, IdTokenFlaw};
use crate::requests::Seen;
use crate::serve::route::State;
use crate::serve::wire::Response;

/// An ID token is good for this many seconds.
const ID_TOKEN_SECONDS: i64 = 300;

impl Smart {
    /// Answers a token request of an app.
    pub(super) async fn token(&self, seen: &Seen, state: &State, faults: &[Fault]) -> Response {
        for fault in faults {
            if let Fault::TokenSlow(how_long) = fault {
                tokio::time::sleep(*how_long).await;
            }
        }
        let form = match form(seen) {
            Ok(form) => form,
            Err(response) => return *response,
        };
        if faults.contains(&Fault::TokenRefused) {
            return refusal(401, "invalid_client", "no such client in realm hospital-prod");
        }
        let client = match self.authenticated(seen, &form).await {
            Ok(client) => client.client_id.as_str(),
            Err(response) => return *response,
        };
        let (issued, first) = match form.get("grant_type") {
            Some("authorization_code") => (self.redeemed(&form, client), true),
            Some("refresh_token") => (self.renewed(&form, client, faults), false),
            Some(_) => return refusal(400, "unsupported_grant_type", "authorization_code and refresh_token are"),
            None => return refusal(400, "invalid_request", "`grant_type` is missing"),
        };
        match issued {
            Ok(issued) => self.granted(&issued, first, state, faults),
            Err(response) => *response,
        }
    }

    fn redeemed(&self, form: &Form, client_id: &str) -> Result<Issued, Box<Response>> {
        let need = |name: &str| form.need(name).map_err(|says| Box::new(refusal(400, "invalid_request", &says)));
        let (code, redirect_uri) = (need("code")?, need("redirect_uri")?);
        // Without a verifier the code is as good as stolen (TK-02): it is used up and refused like with a wrong one.
        let verifier = form.get("code_verifier").unwrap_or("");
        let redeem = Redeem { code, client_id, redirect_uri, verifier };
        self.book().redeem(&redeem, self.seconds, self.clock.now()).map_err(|why| Box::new(refused(why, "code")))
    }

    fn renewed(&self, form: &Form, client_id: &str, faults: &[Fault]) -> Result<Issued, Box<Response>> {
        let token = form.need("refresh_token").map_err(|says| Box::new(refusal(400, "invalid_request", &says)))?;
        let scope = form.get("scope").map(|scope| scope.split(' ').map(str::to_owned).collect());
        let patient = told(faults, |fault| match fault {
            Fault::RefreshPatient(id) => Some(id.as_str()),
            _ => None,
        });
        let renew = Renew { token, client_id, scope, patient };
        self.book().renew(&renew, self.seconds, self.clock.now()).map_err(|why| Box::new(refused(why, "refresh token")))
    }

    /// The answer with tokens and context (TK-04, CX-03, CX-04).
    fn granted(&self, issued: &Issued, first: bool, state: &State, faults: &[Fault]) -> Response {
        let context = &issued.grant.context;
        let scope = told(faults, |fault| match fault {
            Fault::TokenScope(scope) => Some(scope.clone()),
            _ => None,
        });
        let mut body = Map::new();
        let mut say = |name: &str, value: Value| {
            body.insert(name.to_owned(), value);
        };
        say("access_token", json!(issued.access));
        say("token_type", json!("Bearer"));
        say("expires_in", json!(self.seconds));
        say("scope", json!(scope.unwrap_or_else(|| issued.scope.join(" "))));
        if let Some(refresh) = &issued.refresh {
            say("refresh_token", json!(refresh));
        }
        if let Some(patient) = issued.patient.as_ref().filter(|_| !faults.contains(&Fault::TokenWithoutPatient)) {
            say("patient", json!(patient));
            say("need_patient_banner", json!(context.need_patient_banner));
        }
        if let Some(encounter) = &context.encounter {
            say("encounter", json!(encounter));
        }
        if !context.fhir_context.is_empty() {
            say("fhirContext", json!(context.fhir_context));
        }
        if let Some(intent) = &context.intent {
            say("intent", json!(intent));
        }
        say("smart_style_url", json!(self.style_url()));
        if first && issued.scope.iter().any(|scope| scope == "openid") {
            match self.id_token(issued, state, faults) {
                Some(Some(token)) => say("id_token", json!(token)),
                Some(None) => {}
                None => return refusal(500, "server_error", "the ID token cannot be signed"),
            }
        }
        data(200, &Value::Object(body))
    }

    /// The ID token (OI-01 to OI-06); none when it cannot be signed, an empty one when told to leave it out.
    fn id_token(&self, issued: &Issued, state: &State, faults: &[Fault]) -> Option<Option<String>> {
        let flaw = told(faults, |fault| match fault {
            Fault::IdToken(flaw) => Some(*flaw),
            _ => None,
        });
        if flaw == Some(IdTokenFlaw::Absent) {
            return Some(None);
        }
        let now = self.clock.now().div_euclid(1000);
        let practitioner = &issued.grant.context.practitioner;
        let mut claims = json!({
            "iss": self.issuer, "sub": practitioner, "aud": issued.grant.client_id, "iat": now, "exp": now + ID_TOKEN_SECONDS
        });
        let members = claims.as_object_mut()?;
        let mut say = |name: &str, value: Value| {
            members.insert(name.to_owned(), value);
        };
        if issued.scope.iter().any(|scope| scope == "fhirUser") {
            say("fhirUser", json!(format!("{}/Practitioner/{practitioner}", state.base)));
        }
        if let Some(nonce) = &issued.nonce {
            say("nonce", json!(nonce));
        }
        match flaw {
            Some(IdTokenFlaw::Nonce) => say("nonce", json!("of-another-login")),
            Some(IdTokenFlaw::Audience) => say("aud", json!("another-app")),
            Some(IdTokenFlaw::Issuer) => say("iss", json!("http://127.0.0.1:9/another-issuer")),
            Some(IdTokenFlaw::Expired) => {
                say("iat", json!(now - 2 * ID_TOKEN_SECONDS));
                say("exp", json!(now - ID_TOKEN_SECONDS));
            }
            Some(IdTokenFlaw::User) => say("fhirUser", json!("http://127.0.0.1:9/fhir/Practitioner/prac-02")),
            Some(IdTokenFlaw::Signature | IdTokenFlaw::Absent) | None => {}
        }
        self.key.sign(&claims, flaw == Some(IdTokenFlaw::Signature)).map(Some)
    }

    /// Answers a revocation request (RFC 7009 §2).
    pub(super) async fn revoke(&self, seen: &Seen, faults: &[Fault]) -> Response {
        if faults.contains(&Fault::RevocationUnsupported) {
            return empty(404);
        }
        let form = match form(seen) {
            Ok(form) => form,
            Err(response) => return *response,
        };
        let client = match self.authenticated(seen, &form).await {
            Ok(client) => client.client_id.as_str(),
            Err(response) => return *response,
        };
        if faults.contains(&Fault::RevocationFails) {
            return refusal(503, "temporarily_unavailable", "the token store is away");
        }
        let token = match form.need("token") {
            Ok(token) => token,
            Err(says) => return refusal(400, "invalid_request", &says),
        };
        if self.book().revoke(token, client, self.clock.now()) {
            empty(200)
        } else {
            refusal(400, "unauthorized_client", "the token is another app's")
        }
    }
}

/// The form of a POST (TK-13).
fn form(seen: &Seen) -> Result<Form, Box<Response>> {
    if seen.method != "POST" {
        return Err(Box::new(wrong_method("POST")));
    }
    let Some(form) = Form::body(seen) else {
        return Err(Box::new(refusal(400, "invalid_request", "the body is no application/x-www-form-urlencoded")));
    };
    match form.repeated() {
        Some(name) => Err(Box::new(refusal(400, "invalid_request", &format!("`{name}` comes more than once")))),
        None => Ok(form),
    }
}

fn refused(why: RedeemError, what: &str) -> Response {
    match why {
        RedeemError::Grant => refusal(400, "invalid_grant", &format!("this {what} is not good, or not for this")),
        RedeemError::Scope => refusal(400, "invalid_scope", "more than was granted"),
        RedeemError::Unable => refusal(503, "temporarily_unavailable", "no token can be made now"),
    }
}
