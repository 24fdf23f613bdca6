//! What rows are made of: authorization requests, walks through pages, token requests, launch handles, questions about tokens.

mod calls;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::browser::{Browser, Conduct, End, Walk};
use crate::config::Person;
use crate::http::{Answer, Send, encode, pairs};
use crate::jose::{Draft, Key, base64url, nonce, sha256};
use crate::row::Stop;
use crate::suite::{Fixture, Suite, Who, now};

/// The assertion type of RFC 7523 §2.2.
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// An assertion is used at once; SMART allows five minutes.
const ASSERTION_SECONDS: i64 = 60;

/// A form in the making.
pub type Fields = Vec<(String, String)>;

/// An authorization request, and what only the app knows of it.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its parameters.
    pub params: Fields,
    /// PKCE verifier.
    pub verifier: String,
    /// `state`.
    pub state: String,
    /// Redirect URI as registered.
    pub redirect_uri: String,
}

impl Ask {
    /// Sets a parameter.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.params.retain(|(have, _)| have != name);
        self.also(name, value)
    }

    /// Adds a parameter, a second time if it is there.
    #[must_use]
    pub fn also(mut self, name: &str, value: &str) -> Self {
        self.params.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves a parameter out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.params.retain(|(have, _)| have != name);
        self
    }

    /// A parameter, empty when it is not there.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.params.iter().find(|(have, _)| have == name).map_or("", |(_, value)| value)
    }
}

/// What came back to the app.
#[derive(Clone, Debug)]
pub struct Landing(pub Fields);

impl Landing {
    /// Reads the query of a redirect.
    #[must_use]
    pub fn read(location: &str) -> Self {
        let query = location.split_once('?').map_or("", |(_, query)| query).split('#').next().unwrap_or("");
        Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// A parameter, empty when it is not there.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(have, _)| have == name).map_or("", |(_, value)| value)
    }
}

/// A token response, and whose it is.
pub struct Grant<'a> {
    /// The response.
    pub answer: Answer,
    /// Its body.
    pub body: Value,
    /// The client.
    pub client: &'a Fixture,
    /// The code it came from, with the request it came of.
    pub code: Option<(String, Ask)>,
}

impl Grant<'_> {
    /// A string member of the response, empty when it is not there.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.body.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// The access token.
    #[must_use]
    pub fn access(&self) -> &str {
        self.text("access_token")
    }

    /// The refresh token.
    ///
    /// # Errors
    /// Skips when there is none.
    pub fn refresh(&self) -> Result<&str, Stop> {
        match self.text("refresh_token") {
            "" => Err(Stop::Skip("the server gave no refresh token for this scope".into())),
            token => Ok(token),
        }
    }

    /// The granted scopes.
    #[must_use]
    pub fn scopes(&self) -> Vec<&str> {
        self.text("scope").split_whitespace().collect()
    }
}

impl Suite {
    /// The request a client makes when a row does not say otherwise.
    ///
    /// # Errors
    /// Skips when the client has no redirect URI.
    pub fn ask(&self, client: &Fixture, scope: &str) -> Result<Ask, Stop> {
        let redirect_uri = client.spec.redirect_uri.clone();
        if redirect_uri.is_empty() {
            return Err(Stop::Skip(format!("client `{}` has no `redirect_uri` in the file", client.spec.id)));
        }
        let (verifier, state) = (nonce(), nonce());
        let challenge = base64url(&sha256(verifier.as_bytes()));
        let params = pairs(&[
            ("response_type", "code"),
            ("client_id", &client.spec.id),
            ("redirect_uri", &redirect_uri),
            ("scope", scope),
            ("state", &state),
            ("aud", &self.target.fhir),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        Ok(Ask { params, verifier, state, redirect_uri })
    }

    /// A browser that knows where the client's app is, and where the request wants to go.
    #[must_use]
    pub fn browser(&self, ask: &Ask) -> Browser {
        let mut browser = Browser::new(self.http.clone(), self.config.forms.clone(), vec![ask.redirect_uri.clone()]);
        for (_, uri) in ask.params.iter().filter(|(name, uri)| name == "redirect_uri" && !uri.is_empty()) {
            browser.also_at(uri);
        }
        browser
    }

    /// The URL of an authorization request, however the metadata's own URL looks (AZ-19).
    ///
    /// # Errors
    /// Skips when there is no authorization endpoint.
    pub fn authorize_url(&self, params: &[(String, String)]) -> Result<String, Stop> {
        let endpoint = self.endpoint("authorization_endpoint")?;
        let joint = if endpoint.contains('?') { '&' } else { '?' };
        Ok(format!("{endpoint}{joint}{}", encode(params)))
    }

    /// How a person behaves: signs in, picks the patient, allows.
    #[must_use]
    pub fn conduct(&self, person: Option<&Person>, patient: Option<&str>) -> Conduct {
        let fields = person.map(|person| person.fields.clone()).unwrap_or_default().into_iter().collect();
        Conduct { fields, patient: patient.map(str::to_owned), ..Conduct::default() }
    }

    /// The first request of a client: pushed first when it must be.
    ///
    /// # Errors
    /// When the push is refused.
    pub async fn opening(&self, client: &Fixture, ask: &Ask) -> Result<Send, Stop> {
        if !client.spec.par {
            return Ok(Send::get(&self.authorize_url(&ask.params)?));
        }
        let pushed = self.push(client, ask).await?;
        let uri = pushed.member("request_uri");
        if pushed.status != 201 || uri.is_empty() {
            return Err(Stop::Fail(format!("the pushed request was answered {}", pushed.shown())));
        }
        Ok(Send::get(&self.authorize_url(&pairs(&[("client_id", &client.spec.id), ("request_uri", &uri)]))?))
    }

    /// Pushes a request (RFC 9126).
    ///
    /// # Errors
    /// Skips when there is no such endpoint.
    pub async fn push(&self, client: &Fixture, ask: &Ask) -> Result<Answer, Stop> {
        let endpoint = self.endpoint("pushed_authorization_request_endpoint")?;
        let send = self.authenticated(client, &endpoint, ask.params.clone())?;
        Ok(client.http.send(send).await?)
    }

    /// Walks a request to its end as this person would.
    ///
    /// # Errors
    /// When it cannot begin.
    pub async fn walk(&self, client: &Fixture, ask: &Ask, conduct: &Conduct) -> Result<Walk, Stop> {
        let opening = self.opening(client, ask).await?;
        Ok(self.browser(ask).walk(opening, conduct).await)
    }

    /// Alice signs in, picks P1 and allows; the app gets its code.
    ///
    /// # Errors
    /// Skips without Alice; fails when no code comes.
    pub async fn code(&self, client: &Fixture, ask: &Ask) -> Result<Landing, Stop> {
        let conduct = self.conduct(Some(self.alice()?), Some(self.p1()?));
        let walk = self.walk(client, ask, &conduct).await?;
        landed(&walk).and_then(|landing| match landing.get("code") {
            "" => Err(Stop::Fail(format!("no code came back, but `{}`", landing.get("error")))),
            _ => Ok(landing),
        })
    }

    /// A whole authorization by Alice.
    ///
    /// # Errors
    /// When any step of it fails.
    pub async fn grant<'a>(&self, client: &'a Fixture, scope: &str) -> Result<Grant<'a>, Stop> {
        let ask = self.ask(client, scope)?;
        self.grant_of(client, ask).await
    }

    /// A whole authorization by Alice of this request.
    ///
    /// # Errors
    /// When any step of it fails.
    pub async fn grant_of<'a>(&self, client: &'a Fixture, ask: Ask) -> Result<Grant<'a>, Stop> {
        let landing = self.code(client, &ask).await?;
        let code = landing.get("code").to_owned();
        let answer = self.token(client, exchange(&ask, &code)).await?;
        let grant = self.granted(client, answer)?;
        Ok(Grant { code: Some((code, ask)), ..grant })
    }

    /// Reads a token response.
    ///
    /// # Errors
    /// Fails when it is none.
    pub fn granted<'a>(&self, client: &'a Fixture, answer: Answer) -> Result<Grant<'a>, Stop> {
        let body = answer.json();
        if answer.status != 200 || body.get("access_token").and_then(Value::as_str).is_none() {
            return Err(Stop::Fail(format!("no token came, but {}", answer.shown())));
        }
        Ok(Grant { answer, body, client, code: None })
    }

    /// The client that people use which authenticates least: most rows about codes concern it.
    ///
    /// # Errors
    /// Skips when there is none.
    pub fn app(&self) -> Result<&Fixture, Stop> {
        self.first(&[Who::Pub, Who::Asy, Who::Sym, Who::Asyu])
    }

    /// A token for P1 by whatever client there is: an app with Alice, else backend services.
    ///
    /// # Errors
    /// Skips when there is neither.
    pub async fn any_grant(&self) -> Result<Grant<'_>, Stop> {
        if let (Ok(app), Ok(_)) = (self.app(), self.alice()) {
            return self.grant(app, &self.config.scopes.base.clone()).await;
        }
        self.backend().await
    }

    /// A backend token: with a launch handle where the file names a launcher and a task.
    ///
    /// # Errors
    /// Skips without the client; fails when no token comes.
    pub async fn backend(&self) -> Result<Grant<'_>, Stop> {
        let client = self.client(Who::Be)?;
        let fields = self.backend_fields(client).await?;
        let answer = self.token(client, fields).await?;
        self.granted(client, answer)
    }

    /// The form of such a request, without the client's proof.
    ///
    /// # Errors
    /// When no launch handle can be had.
    pub async fn backend_fields(&self, client: &Fixture) -> Result<Fields, Stop> {
        let mut fields = pairs(&[("grant_type", "client_credentials")]);
        if !client.spec.scope.is_empty() {
            fields.push(("scope".into(), client.spec.scope.clone()));
        }
        if client.spec.task.is_some() && self.client(Who::Launcher).is_ok() {
            fields.push(("launch".into(), self.launch_handle(client, self.p1()?).await?));
        }
        Ok(fields)
    }

    /// A launch handle for this client and patient.
    ///
    /// # Errors
    /// When none is given.
    pub async fn launch_handle(&self, client: &Fixture, patient: &str) -> Result<String, Stop> {
        let answer = self.mint(client, patient).await?;
        match answer.member("launch") {
            handle if answer.status == 201 && !handle.is_empty() => Ok(handle),
            _ => Err(Stop::Fail(format!("the launcher was answered {}", answer.shown()))),
        }
    }

    /// `POST {issuer}/oauth/launch` by the launcher: Hilum's way to mint handles (LN-04).
    ///
    /// # Errors
    /// Skips without a launcher.
    pub async fn mint(&self, client: &Fixture, patient: &str) -> Result<Answer, Stop> {
        let launcher = self.client(Who::Launcher)?;
        let mut body = json!({ "client_id": client.spec.id, "patient": patient });
        if let (Some(task), Some(members)) = (&client.spec.task, body.as_object_mut()) {
            members.insert("task".into(), task.as_str().into());
        }
        self.mint_with(launcher, body).await
    }

    /// The same with a body of the row's own.
    ///
    /// # Errors
    /// Skips when nobody knows where to send it.
    pub async fn mint_with(&self, launcher: &Fixture, mut body: Value) -> Result<Answer, Stop> {
        let assertion = self.assertion(launcher)?;
        if let Some(members) = body.as_object_mut() {
            members.insert("client_assertion_type".into(), JWT_BEARER.into());
            members.insert("client_assertion".into(), assertion.into());
        }
        Ok(launcher.http.send(Send::json(&self.launch_endpoint()?, &body)).await?)
    }

    /// Where handles are minted: beside the token endpoint.
    ///
    /// # Errors
    /// Skips when that cannot be told.
    pub fn launch_endpoint(&self) -> Result<String, Stop> {
        let token = self.endpoint("token_endpoint")?;
        let beside = token.strip_suffix("/token").map(|base| format!("{base}/launch"));
        beside.ok_or_else(|| Stop::Skip("no launch endpoint stands beside the token endpoint".into()))
    }
}

/// The form that redeems a code.
#[must_use]
pub fn exchange(ask: &Ask, code: &str) -> Fields {
    pairs(&[
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", ask.get("redirect_uri")),
        ("code_verifier", &ask.verifier),
    ])
}

/// The two fields of an assertion.
#[must_use]
pub fn asserted(assertion: &str) -> Fields {
    pairs(&[("client_assertion_type", JWT_BEARER), ("client_assertion", assertion)])
}

/// `Authorization: Basic`, unencoded, as the certification kits send it (CA-11).
#[must_use]
pub fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// A client's signing key.
///
/// # Errors
/// Skips when it has none.
pub fn key_of(client: &Fixture) -> Result<&Key, Stop> {
    client.key.as_ref().ok_or_else(|| Stop::Skip(format!("client `{}` has no key", client.spec.id)))
}

/// An honest proof of possession (RFC 9449 §4.2).
#[must_use]
pub fn dpop(key: &Key, method: &str, url: &str, token: Option<&str>, nonce_wanted: &str) -> Draft {
    let bare = url.split(['?', '#']).next().unwrap_or_default();
    let header = json!({ "typ": "dpop+jwt", "alg": key.alg, "jwk": key.bare_jwk() });
    let claims = json!({ "jti": nonce(), "htm": method, "htu": bare, "iat": now() });
    let mut draft = Draft::new(&header, &claims);
    if let Some(token) = token {
        draft = draft.claim("ath", base64url(&sha256(token.as_bytes())).into());
    }
    if !nonce_wanted.is_empty() {
        draft = draft.claim("nonce", nonce_wanted.into());
    }
    draft
}

/// What the app got at the end of a walk.
///
/// # Errors
/// Fails when the walk did not end there, and skips when nobody could sign in.
pub fn landed(walk: &Walk) -> Result<Landing, Stop> {
    match &walk.end {
        End::App(location) => Ok(Landing::read(location)),
        End::Lost(why) => Err(Stop::Fail(why.clone())),
        End::Page(page) => {
            let at = page.url.split('?').next().unwrap_or_default();
            let asks = page
                .kind()
                .map_or_else(String::new, |kind| format!(" that asks for {kind:?} and could not be answered"));
            Err(Stop::Fail(format!("the walk ended at a page{asks}: {at}, {}", page.answer.shown())))
        }
    }
}
