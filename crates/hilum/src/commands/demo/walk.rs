//! The part of the tour with people: a browser without script walks where a person would.

use conformance::browser::{Browser, Conduct, Decision, End, Page, PageKind, Walk};
use conformance::config::Forms;
use conformance::http::{Http as Wire, Send as Sent, encode, pairs};
use http::Method;
use serde_json::{Value, json};
use server::clock::random_text;

use super::apps::{APP, CLINICIAN_APP, PATIENT_APP, VISIT_AGENT};
use super::http::{Exchange, Send};
use super::show;
use super::tour::{ASSERTION_TYPE, OTHER, PATIENT, Tour};
use crate::cli::Failure;

/// Where the EHR opens an app.
const LAUNCHED: &str = "http://127.0.0.1:9000/launch";
/// The clinician at the EHR.
const CLINICIAN: &str = "prac-01";

/// An authorization request, and what only the app knows of it.
struct Asked {
    url: String,
    verifier: String,
    state: String,
}

/// A parameter of an address; empty when it is not there.
fn parameter(address: &str, name: &str) -> String {
    let query = address.split_once('?').map_or("", |(_, query)| query);
    let found = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(have, _)| *have == name);
    let plain = found.map(|(_, value)| value.replace("%3A", ":").replace("%2F", "/"));
    plain.unwrap_or_default()
}

fn fresh() -> Result<String, Failure> {
    random_text().map_err(|why| Failure::failed(why.to_string()))
}

/// What was walked through, for people.
fn pages(walk: &Walk) -> Vec<&'static str> {
    let kind = |page: &Page| match page.kind() {
        Some(PageKind::Login) => "sign in",
        Some(PageKind::Picker) => "which patient",
        Some(PageKind::Consent) => "what it may have",
        Some(PageKind::Passing) | None => "a page",
    };
    walk.pages.iter().map(kind).collect()
}

impl Tour<'_> {
    /// Everything with people.
    pub(super) async fn with_people(&mut self) -> Result<(), Failure> {
        let wire = Wire::new(None).map_err(Failure::failed)?;
        let apps = vec![format!("{APP}/callback"), LAUNCHED.to_owned()];
        let browser = || Browser::new(wire.clone(), Forms::default(), apps.clone());
        self.patients_app(browser()).await?;
        self.clinicians_app(browser()).await?;
        self.launched_by_the_ehr(browser()).await
    }

    fn ask(&self, client: &str, scope: &str, launch: Option<&str>) -> Result<Asked, Failure> {
        let (verifier, state) = (fresh()?, fresh()?);
        let (redirect, challenge) = (format!("{APP}/callback"), oauth::pkce::challenge(&verifier));
        let fhir = self.hospital.fhir();
        let mut asked = pairs(&[
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", &redirect),
            ("scope", scope),
            ("state", &state),
            ("aud", &fhir),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        if let Some(launch) = launch {
            asked.extend(pairs(&[("launch", launch)]));
        }
        let url = format!("{}/oauth/authorize?{}", self.hospital.issuer, encode(&asked));
        Ok(Asked { url, verifier, state })
    }

    /// Walks the pages of a request; the code, where one came back with the app's own `state`.
    async fn allowed(&mut self, browser: &mut Browser, asked: &Asked, conduct: &Conduct, title: &str) -> String {
        let walk = browser.walk(Sent::get(&asked.url), conduct).await;
        let (code, back) = match &walk.end {
            End::App(address) if parameter(address, "state") == asked.state => {
                (parameter(address, "code"), format!("{APP}/callback?code=…"))
            }
            End::App(address) => (String::new(), format!("at the app: {}", parameter(address, "error"))),
            End::Page(page) => (String::new(), format!("{} {}", page.answer.status, page.url)),
            End::Lost(why) => (String::new(), why.clone()),
        };
        let ended = !code.is_empty();
        self.local(title, "a code", ended, json!({"pages": pages(&walk), "back at": back}));
        code
    }

    async fn token(&self, client: &str, form: &[(&str, &str)]) -> Result<Exchange, Failure> {
        let mut form = pairs(form);
        if client == PATIENT_APP {
            form.extend(pairs(&[("client_id", client)]));
        } else {
            let assertion = self.hospital.assertion(client)?;
            form.extend(pairs(&[("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &assertion)]));
        }
        let url = format!("{}/oauth/token", self.hospital.issuer);
        self.hospital.http.send(Method::POST, &url, None, Send::Form(encode(&form))).await
    }

    async fn exchanged(&self, client: &str, asked: &Asked, code: &str) -> Result<Exchange, Failure> {
        let redirect = format!("{APP}/callback");
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect.as_str()),
            ("code_verifier", asked.verifier.as_str()),
        ];
        self.token(client, &form).await
    }

    fn shown(token: &Exchange) -> Value {
        let shown = show::members(&token.body, &["scope", "patient", "encounter", "expires_in", "refresh_token"]);
        show::secret(&shown, "refresh_token")
    }

    /// A patient signs in for an app of theirs, it refreshes, and they take it back.
    async fn patients_app(&mut self, mut browser: Browser) -> Result<(), Failure> {
        let scope = "launch/patient openid fhirUser offline_access patient/Patient.rs patient/Observation.rs";
        let asked = self.ask(PATIENT_APP, scope, None)?;
        let alice = conduct("alice", None);
        let title = "a patient opens an app of theirs: Alice signs in, reads what it wants, and allows it";
        let code = self.allowed(&mut browser, &asked, &alice, title).await;

        let token = self.exchanged(PATIENT_APP, &asked, &code).await?;
        let ended =
            token.status == 200 && token.text("/patient") == PATIENT && !token.text("/refresh_token").is_empty();
        let title = "the app has its code exchanged: her record, and no other, for as long as she likes";
        self.step(title, "200", &token, ended, Self::shown(&token));

        let access = token.text("/access_token").to_owned();
        let read = self.fhir(&format!("Patient/{PATIENT}"), &access).await?;
        let excerpt = show::members(&read.body, &["resourceType", "id", "birthDate"]);
        self.step("it reads her record", "200", &read, read.status == 200 && read.text("/id") == PATIENT, excerpt);

        let refresh = token.text("/refresh_token").to_owned();
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
        let again = self.token(PATIENT_APP, &form).await?;
        let fresh = again.text("/access_token").to_owned();
        let turned = !again.text("/refresh_token").is_empty() && again.text("/refresh_token") != refresh;
        let title = "it refreshes: a new token, and a new refresh token, for the old one works once";
        self.step(title, "200", &again, again.status == 200 && turned, Self::shown(&again));

        self.taken_back(&mut browser, &fresh).await
    }

    /// The page of one's own grants.
    async fn taken_back(&mut self, browser: &mut Browser, token: &str) -> Result<(), Failure> {
        let url = format!("{}/oauth/grants", self.hospital.issuer);
        let answer = browser.send(Sent::get(&url)).await.map_err(Failure::failed)?;
        let page = browser.page(url.clone(), answer);
        let form = page.html.forms.iter().find(|form| form.buttons().any(|button| button.name == "revoke"));
        let fields = form.map(|form| {
            let mut fields = form.fields();
            fields.extend(form.buttons().next().map(|button| (button.name.clone(), button.value.clone())));
            fields
        });
        let status = match fields {
            Some(fields) => browser.send(Sent::form(&url, &fields)).await.map_err(Failure::failed)?.status,
            None => page.answer.status,
        };
        let ended = form.is_some() && status == 200;
        self.local("Alice looks at what she allowed, and ends it", "200", ended, json!({"at": url, "status": status}));

        let late = self.fhir(&format!("Patient/{PATIENT}"), token).await?;
        self.step("the app's next request", "401", &late, late.status == 401, show::outcome(&late.body));
        Ok(())
    }

    /// A clinician picks one of their patients.
    async fn clinicians_app(&mut self, mut browser: Browser) -> Result<(), Failure> {
        let asked = self.ask(CLINICIAN_APP, "launch/patient openid fhirUser patient/Patient.rs", None)?;
        let bob = conduct("bob", Some(OTHER));
        let title = format!("a clinician opens an app: Dr. Bob signs in and picks {OTHER} among his patients");
        let code = self.allowed(&mut browser, &asked, &bob, &title).await;

        let token = self.exchanged(CLINICIAN_APP, &asked, &code).await?;
        let ended = token.status == 200 && token.text("/patient") == OTHER;
        self.step("the app proves itself by its key", "200", &token, ended, Self::shown(&token));

        let access = token.text("/access_token").to_owned();
        let read = self.fhir(&format!("Patient/{OTHER}"), &access).await?;
        let excerpt = show::members(&read.body, &["resourceType", "id", "birthDate"]);
        self.step("it reads that patient", "200", &read, read.status == 200, excerpt);

        let other = self.fhir(&format!("Patient/{PATIENT}"), &access).await?;
        let ended = matches!(other.status, 403 | 404);
        self.step("and no other", "404", &other, ended, show::outcome(&other.body));
        Ok(())
    }

    /// The EHR launches an AI through the gate.
    async fn launched_by_the_ehr(&mut self, mut browser: Browser) -> Result<(), Failure> {
        let encounter = "enc-001-1";
        let context = demo_ehr::LaunchContext::new(CLINICIAN, PATIENT).encounter(encounter);
        let ehr = &self.hospital.ehr;
        let url = ehr.launch_url(VISIT_AGENT, context).map_err(|why| Failure::failed(why.to_string()))?;
        let walk = browser.walk(Sent::get(&url), &Conduct::default()).await;
        let (launch, says) = match &walk.end {
            End::App(address) => {
                (parameter(address, "launch"), address.split('?').next().unwrap_or_default().to_owned())
            }
            End::Page(page) => (String::new(), format!("{} {}", page.answer.status, page.url)),
            End::Lost(why) => (String::new(), why.clone()),
        };
        let title = "the EHR launches an AI in an open chart: the gate proves itself there, and opens the AI with a launch of its own";
        let excerpt = json!({"redirects": walk.hops.len(), "at": says});
        self.local(title, "a launch", !launch.is_empty(), excerpt);

        let asked = self.ask(VISIT_AGENT, "launch patient/Patient.rs patient/Condition.rs", Some(&launch))?;
        let title = "the AI asks for its session: the EHR's clinician sees what it wants, and allows it";
        let code = self.allowed(&mut browser, &asked, &Conduct::default(), title).await;

        let token = self.exchanged(VISIT_AGENT, &asked, &code).await?;
        let ended = token.status == 200 && token.text("/patient") == PATIENT && token.text("/encounter") == encounter;
        self.step("its token is for the EHR's patient and encounter", "200", &token, ended, Self::shown(&token));

        let access = token.text("/access_token").to_owned();
        let read = self.fhir(&format!("Condition?patient={PATIENT}"), &access).await?;
        let seen = self.hospital.ehr.requests.last();
        let own = seen.as_ref().and_then(|seen| seen.bearer());
        let known = own.and_then(|token| self.hospital.ehr.app_token(token));
        let ended = read.status == 200
            && own.is_some_and(|own| own != access)
            && known.as_ref().is_some_and(|known| known.patient.as_deref() == Some(PATIENT));
        let excerpt = json!({
            "entries": read.entries(),
            "the EHR saw": known.map(|known| format!("a token of its own, for {} and {}", known.practitioner, known.patient.unwrap_or_default()))
        });
        let title = "it reads; the EHR sees the token that it gave the gate for this clinician and this patient";
        self.step(title, "200", &read, ended, excerpt);
        Ok(())
    }
}

/// A person who allows what is asked.
fn conduct(name: &str, patient: Option<&str>) -> Conduct {
    let fields = pairs(&[("username", name), ("password", name)]);
    Conduct { fields, patient: patient.map(str::to_owned), decision: Decision::Allow, stop_at: None }
}

#[test]
fn a_parameter_is_read_from_an_address() {
    assert_eq!(parameter("http://h/cb?code=a-b_c&state=s", "code"), "a-b_c");
    assert_eq!(parameter("http://h/cb?iss=http%3A%2F%2Fh&state=s", "iss"), "http://h");
    assert_eq!(parameter("http://h/cb", "code"), "");
}
