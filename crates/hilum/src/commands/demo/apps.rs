//! The apps of the demonstration and the people who use them: three apps on loopback, three accounts, and Hilum's own
//! registration at the EHR, which launches those apps through it.

use std::path::Path;

use serde_json::{Value, json};
use server::settings::{EhrSettings, LocalAccount, PeopleSettings, SignIn};

use crate::cli::Failure;
use crate::commands::token::make_key;

/// A patient's own app: public, with access that lasts.
pub const PATIENT_APP: &str = "patient-app";
/// A clinician's app, with a key.
pub const CLINICIAN_APP: &str = "clinician-app";
/// An AI that reads one chart with a person before it.
pub const VISIT_AGENT: &str = "visit-agent";
/// Where the apps are: nothing of the demonstration listens there; on loopback any port fits a redirect URI (RFC 8252 §7.3).
pub const APP: &str = "http://127.0.0.1:9000";
/// Profile of a patient's own app.
pub const MY_HEALTH: &str = "my-health";
/// Profile of a clinician's app.
pub const CHART: &str = "chart-review";
/// Hilum at the EHR.
const CLIENT: &str = "hilum";
/// Which patients a clinician may pick: those with whom they have an appointment. A patient finds their own.
const PATIENTS: &str = "Appointment?actor={fhirUser}&status=booked";
const DAY: i64 = 24 * 3600 * 1000;

/// An account as people read it.
pub struct Account {
    /// What is typed.
    pub username: &'static str,
    /// The same.
    pub password: &'static str,
    /// Who it is.
    pub name: &'static str,
    /// Their record.
    pub fhir_user: &'static str,
}

/// Everybody who can sign in.
pub fn accounts() -> [Account; 3] {
    let account = |username, password, name, fhir_user| Account { username, password, name, fhir_user };
    [
        account("alice", "alice", "Alice (demo patient)", "Patient/pat-001"),
        account("carol", "carol", "Carol (demo patient)", "Patient/pat-003"),
        account("bob", "bob", "Dr. Bob (demo clinician)", "Practitioner/prac-01"),
    ]
}

/// Where people sign in, and whose charts they may open.
pub fn people() -> PeopleSettings {
    let local = |account: Account| LocalAccount {
        username: account.username.to_owned(),
        password: account.password.to_owned(),
        name: account.name.to_owned(),
        fhir_user: account.fhir_user.to_owned(),
    };
    let sign_in = SignIn::Demo(accounts().into_iter().map(local).collect());
    PeopleSettings { sign_in, patients: Some(PATIENTS.to_owned()), ..PeopleSettings::default() }
}

/// Hilum as the EHR knows it: one client, at which a launch of each app begins; `more` are apps beside the demonstration's own.
pub fn at_the_ehr(jwks: Value, issuer: &str, more: &[&str]) -> demo_ehr::SmartClient {
    let launch = |app: &str| (app.to_owned(), format!("{issuer}/oauth/launch/{app}"));
    demo_ehr::SmartClient {
        client_id: CLIENT.to_owned(),
        keys: demo_ehr::ClientKeys::Jwks(jwks),
        redirect_uris: vec![format!("{issuer}/oauth/callback/ehr")],
        launch_url: None,
        launch_urls: [CLINICIAN_APP, VISIT_AGENT].iter().chain(more).copied().map(launch).collect(),
    }
}

/// The EHR as Hilum knows it.
pub fn launches(fhir: &str, key: &Path) -> EhrSettings {
    EhrSettings {
        fhir: fhir.to_owned(),
        client_id: CLIENT.to_owned(),
        key: key.to_owned(),
        scope: "launch openid fhirUser online_access patient/*.rs".to_owned(),
    }
}

/// An appointment of the clinician with each of the first three patients, so that there is somebody to pick.
pub fn appointments(ehr: &demo_ehr::Running, now: i64) {
    for number in 1..=3_i64 {
        let start = now + number * DAY;
        let moment = |millis: i64| super::show::timestamp(millis);
        let actor = |reference: String| json!({"actor": {"reference": reference}, "required": "required", "status": "accepted"});
        ehr.put(json!({
            "resourceType": "Appointment", "id": format!("appt-{number:03}-bob"), "status": "booked",
            "description": "Visit", "start": moment(start), "end": moment(start + 30 * 60 * 1000), "minutesDuration": 30,
            "participant": [actor(format!("Patient/pat-{number:03}")), actor("Practitioner/prac-01".to_owned())]
        }));
    }
}

/// One integration with what it asks for.
pub struct App<'a> {
    /// `client_id`.
    pub id: &'a str,
    /// For people.
    pub name: &'a str,
    /// Its class.
    pub class: &'a str,
    /// `auth`, as TOML.
    pub auth: String,
    /// Further lines of the registration, as TOML.
    pub more: String,
    /// Its task, with version.
    pub task: &'a str,
    /// How it starts.
    pub launch: &'a [&'a str],
}

/// Types that apps with people read.
const EXPECTED: &str =
    r#"["Patient", "Condition", "AllergyIntolerance", "MedicationRequest", "Observation", "Encounter", "Appointment"]"#;

impl App<'_> {
    /// As part of a manifest.
    pub fn manifest(&self, expires: &str) -> String {
        let Self { id, name, class, auth, more, task, launch } = self;
        let modes: Vec<String> = launch.iter().map(|mode| format!("{{ mode = \"{mode}\" }}")).collect();
        format!(
            "\n[[integration]]\nid = \"{id}\"\nname = \"{name}\"\nclass = \"{class}\"\n\
             purpose = \"Shows one patient's record to the person who opened it\"\ndata_classes = [\"demographics\", \"clinical\"]\n\
             expected = {EXPECTED}\nenvironment = \"test\"\nvendor = \"Example Apps\"\nexpires_at = \"{expires}\"\n\
             revocation_contact = \"security@example-apps.example\"\n\
             owners = {{ business = \"bea@mercy.example\", technical = \"theo@mercy.example\" }}\nauth = {auth}\n{more}\n\
             \n[[integration.request]]\ntask = \"{task}\"\njustification = \"Shown in the demonstration\"\n\
             terms = {{ launch = [{}], token_seconds = 900, budgets = {{ patients_per_hour = 100 }} }}\n",
            modes.join(", ")
        )
    }
}

/// `auth` of a client with a key of its own, whose private half is put into `folder`.
pub fn keyed(folder: &Path, id: &str) -> Result<String, Failure> {
    let jwks = make_key(&folder.join(format!("{id}.pem")))?.to_string();
    Ok(format!("{{ keys = {{ jwks = {} }} }}", Value::from(jwks)))
}

/// The profiles and the apps.
pub fn manifest(folder: &Path, expires: &str) -> Result<String, Failure> {
    const READ: &str =
        "Patient.rs Condition.rs AllergyIntolerance.rs MedicationRequest.rs Observation.rs Encounter.rs Appointment.rs";
    let scopes = |level: &str| READ.split(' ').map(|read| format!("{level}/{read}")).collect::<Vec<_>>().join(" ");
    let task = |name: &str, purpose: &str, code: &str, scopes: &str| {
        format!(
            "\n[[task]]\nname = \"{name}\"\nversion = 1\npurpose = \"{purpose}\"\npurpose_of_use = \"{code}\"\nscopes = \"{scopes}\"\n"
        )
    };
    let mut out = task(MY_HEALTH, "Shows patients their own record", "PATRQT", &scopes("patient"));
    let both = format!("{} {}", scopes("patient"), scopes("user"));
    out.push_str(&task(CHART, "Shows a clinician the charts of their patients", "TREAT", &both));
    out.push_str(&task("visit-summary", "Summarises one chart before a visit", "TREAT", &scopes("patient")));
    let uris = format!("redirect_uris = [\"{APP}/callback\"]\norigins = [\"{APP}\"]\n");
    let launched = format!("{uris}launch_urls = [\"{APP}/launch\"]\n");
    let app = |id, name, class, auth, more: &str, task, launch| {
        App { id, name, class, auth, more: more.to_owned(), task, launch }.manifest(expires)
    };
    out.push_str(&app(
        PATIENT_APP,
        "My Health",
        "patient-app",
        "{ method = \"none\" }".to_owned(),
        &uris,
        "my-health@1",
        &["standalone"],
    ));
    let (chart, visit) = (keyed(folder, CLINICIAN_APP)?, keyed(folder, VISIT_AGENT)?);
    let ways: &[&str] = &["ehr", "standalone"];
    out.push_str(&app(CLINICIAN_APP, "Chart Review", "clinician-app", chart, &launched, "chart-review@1", ways));
    out.push_str(&app(VISIT_AGENT, "Visit Summary AI", "clinical-ai", visit, &launched, "visit-summary@1", ways));
    Ok(out)
}
