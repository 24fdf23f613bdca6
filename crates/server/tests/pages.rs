//! The pages a person sees, whole: their structure, what hostile names do to them (nothing), and the files that axe-core is run on.
//!
//! `HILUM_PAGES_OUT=FOLDER cargo test -p server --test pages` writes each page as an HTML file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use std::collections::BTreeSet;

use domain::{RequestedScope, ScopeSet};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use oauth::{choice, words};
use server::authorize::pages::{
    Consent, ConsentProblem, Csrf, Failed, GrantRow, Granted, Kept, LaunchFailed, Page, Picker, PickerProblem,
    PickerRow, Place, Refusal, Shown, SignIn, SignInProblem, SignedOut, Waiting, forms,
};

const WIDE: &str = "patient/Patient.rs patient/Condition.read patient/Observation.rs patient/MedicationRequest.rs \
    patient/AllergyIntolerance.rs patient/DocumentReference.rs?category=clinical-note patient/QuestionnaireResponse.crus \
    user/Practitioner.r user/SupplyDelivery.rs";
const DAY: i64 = 24 * 3_600_000;
const NOW: i64 = 1_796_000_000_000;

fn shown(text: &str) -> Shown {
    Shown::new(text)
}

fn place() -> Place {
    let mut place = Place::new(shown("St. Brigid's General Hospital"));
    place.redirects = vec!["https://app.example/callback".into()];
    place
}

fn csrf() -> Csrf {
    Csrf::new(&[7; 16])
}

fn ann() -> PickerRow {
    PickerRow { value: "h-1".into(), name: shown("Ann Example"), born: shown("3 May 1961"), number: shown("MRN 00123") }
}

fn sign_in(problem: Option<SignInProblem>) -> SignIn {
    SignIn {
        place: place(),
        action: "/demo/oauth/sign-in".into(),
        request: "r-1".into(),
        csrf: csrf(),
        app: shown("Sepsis Watch"),
        username: shown(if problem.is_some() { "dr.adams" } else { "" }),
        accounts: vec![shown("dr.adams, password demo: a physician"), shown("ann, password demo: a patient")],
        problem,
    }
}

fn picker(patients: Vec<PickerRow>, problem: Option<PickerProblem>) -> Picker {
    Picker {
        place: place(),
        action: "/demo/oauth/patient".into(),
        request: "r-1".into(),
        csrf: csrf(),
        app: shown("Sepsis Watch"),
        person: shown("Dr. Ada Adams"),
        more: patients.len() > 2,
        patients,
        search: Some(shown("")),
        problem,
    }
}

fn consent(scopes: &str, kept: Kept) -> Consent {
    let granted: ScopeSet = scopes.parse().unwrap();
    let always = ["launch/patient", "openid"].map(|item| words::item(&RequestedScope::read(item)).unwrap().to_owned());
    Consent {
        place: place(),
        action: "/demo/oauth/consent".into(),
        request: "r-1".into(),
        csrf: csrf(),
        app: shown("Sepsis Watch"),
        vendor: shown("Northwind Health Software"),
        purpose: shown("warns of sepsis early, from vital signs and laboratory values"),
        task: shown("look over one patient and say what to check next"),
        purpose_of_use: "TREAT".into(),
        person: shown("Dr. Ada Adams"),
        patient: Some(ann()),
        returns_to: shown("app.example"),
        choices: choice::choices(&granted),
        ticked: None,
        always: always.to_vec(),
        kept,
        problem: None,
    }
}

fn granted(count: usize) -> Granted {
    let scopes: ScopeSet = WIDE.parse().unwrap();
    let row = |number: usize| GrantRow {
        value: format!("g-{number}"),
        app: shown(["Sepsis Watch", "My Health Diary"][number % 2]),
        vendor: shown("Northwind Health Software"),
        patient: shown(["Ann Example", ""][number % 2]),
        scopes: scopes.0.iter().map(words::scope).collect(),
        since: NOW - 40 * DAY,
        until: NOW + 50 * DAY,
        used: (number == 0).then_some(NOW - DAY),
    };
    Granted {
        place: Place::new(shown("St. Brigid's General Hospital")),
        action: "/demo/oauth/granted".into(),
        sign_out: "/demo/oauth/sign-out".into(),
        csrf: csrf(),
        person: shown("Ann Example"),
        grants: (0..count).map(row).collect(),
        revoked: (count == 1).then(|| shown("Pill Reminder")),
    }
}

fn failed(why: Refusal) -> Failed {
    Failed { place: place(), why, developer: shown("redirect_uri is not registered"), reference: shown("R-7F3A-22C1") }
}

/// Every page in every state, by the name of its file.
fn pages() -> Vec<(&'static str, Page)> {
    let many = vec![
        ann(),
        PickerRow {
            value: "h-2".into(),
            name: shown("Zoë Müller-Ōno"),
            born: shown("1 January 1999"),
            number: shown(""),
        },
        PickerRow {
            value: "h-3".into(),
            name: shown("عمر خالد"),
            born: shown("12 March 1948"),
            number: shown("MRN 77"),
        },
    ];
    let nothing = Consent {
        ticked: Some(BTreeSet::new()),
        problem: Some(ConsentProblem::Nothing),
        ..consent(WIDE, Kept::Online)
    };
    let launch_failed = LaunchFailed {
        place: place(),
        app: shown("Sepsis Watch"),
        says: shown("The record system did not say which patient is open."),
        again: "/demo/oauth/launch".into(),
        reference: shown("R-7F3A-22C1"),
        status: StatusCode::BAD_GATEWAY,
    };
    let waiting = Waiting {
        place: place(),
        app: shown("Sepsis Watch"),
        for_whom: shown("Meadow EHR"),
        again: "/demo/oauth/wait".into(),
    };
    vec![
        ("sign-in", sign_in(None).render()),
        ("sign-in-wrong", sign_in(Some(SignInProblem::Wrong)).render()),
        ("sign-in-ended", sign_in(Some(SignInProblem::Ended)).render()),
        ("picker", picker(many, None).render()),
        ("picker-none-chosen", picker(vec![ann()], Some(PickerProblem::None)).render()),
        ("picker-empty", picker(Vec::new(), None).render()),
        ("consent", consent(WIDE, Kept::Session).render()),
        (
            "consent-offline",
            consent("patient/Observation.rs?category=laboratory patient/Patient.r", Kept::Offline).render(),
        ),
        ("consent-whole", consent("patient/*.cruds", Kept::Session).render()),
        ("consent-nothing", nothing.render()),
        ("granted", granted(2).render()),
        ("granted-revoked", granted(1).render()),
        ("granted-none", granted(0).render()),
        ("failed-client", failed(Refusal::Client).render()),
        ("failed-redirect", failed(Refusal::Redirect).render()),
        ("failed-interaction", failed(Refusal::Interaction).render()),
        ("signed-out", SignedOut { place: place(), again: "/demo/oauth/granted".into(), sessions_ended: 2 }.render()),
        ("waiting", waiting.render()),
        ("launch-failed", launch_failed.render()),
    ]
}

#[test]
fn pages_are_written_where_they_are_asked_for() {
    let Some(folder) = std::env::var_os("HILUM_PAGES_OUT").map(std::path::PathBuf::from) else { return };
    std::fs::create_dir_all(&folder).unwrap();
    for (name, page) in pages() {
        std::fs::write(folder.join(format!("{name}.html")), page.html).unwrap();
    }
}

/// What of a page is its structure: its main part, without the style that all share.
fn main_of(page: &Page) -> &str {
    page.html.split_once("<main").unwrap().1.split_once("</main>").unwrap().0
}

#[test]
fn the_structure_of_the_pages_is_as_looked_at() {
    for (name, page) in pages() {
        if ["sign-in-wrong", "picker", "consent-offline", "granted-revoked", "failed-redirect"].contains(&name) {
            insta::assert_snapshot!(name, main_of(&page));
        }
    }
}

/// AZ-13, AZ-15, AZ-16, NEG-034: every page, not only the ones that come to mind.
#[test]
fn neg_034_every_page_has_its_headers_and_loads_nothing() {
    for (name, page) in pages() {
        let header = |key: &str| page.headers.get(key).unwrap_or_else(|| panic!("{name}: {key}")).to_str().unwrap();
        assert_eq!(header("x-frame-options"), "DENY", "{name}");
        assert_eq!(header("cache-control"), "no-store", "{name}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{name}");
        assert!(header("content-security-policy").starts_with("default-src 'none'; style-src 'sha256-"), "{name}");
        assert_eq!(page.headers.get(CONTENT_TYPE).unwrap(), "text/html; charset=utf-8", "{name}");
        assert!(page.headers.keys().all(|key| !key.as_str().starts_with("access-control")), "{name}");
        for bad in ["<script", "<img", "<link", "<iframe", " style=", "javascript:", "src=", "onclick", "onload"] {
            assert!(!page.html.contains(bad), "{name}: {bad}");
        }
        assert_eq!(page.html.matches("<h1>").count(), 1, "{name}");
        for once in ["<html lang=\"en\">", "<main", "<header>", "<footer>", "<title>"] {
            assert_eq!(page.html.matches(once).count(), 1, "{name}: {once}");
        }
        // Each form carries its token; a page with the interaction's handle carries it in each.
        assert_eq!(page.html.matches("<form").count(), page.html.matches("name=\"csrf\"").count(), "{name}");
        assert_eq!(page.html.matches("<form").count(), page.html.matches("method=\"post\"").count(), "{name}");
    }
}

/// AZ-08: the page says what is wrong and leads nowhere.
#[test]
fn az_08_a_wrong_client_or_redirect_is_told_to_the_person_and_leads_nowhere() {
    for why in [Refusal::Client, Refusal::Redirect] {
        let page = failed(why).render();
        assert_eq!(page.status, StatusCode::BAD_REQUEST);
        assert!(!page.html.contains("href=") && !page.html.contains("<form") && !page.html.contains("http-equiv"));
        assert!(page.html.contains("Nothing was shared"));
    }
}

/// Names are whatever somebody registered: none becomes markup, hides, or turns the text round.
#[test]
fn hostile_names_stay_text() {
    let evil = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u{202E}\u{0}\u{200B}{{ csrf }}";
    let mut page = consent("patient/Patient.rs", Kept::Session);
    for field in
        [&mut page.app, &mut page.vendor, &mut page.purpose, &mut page.task, &mut page.person, &mut page.returns_to]
    {
        *field = shown(evil);
    }
    page.place.organisation = shown(evil);
    page.purpose_of_use = evil.into();
    page.request = evil.into();
    page.action = "/x\"><script>".into();
    page.always = vec![evil.into()];
    page.patient = Some(PickerRow { value: evil.into(), name: shown(evil), born: shown(evil), number: shown(evil) });
    let pick =
        Picker { patients: vec![page.patient.clone().unwrap()], search: Some(shown(evil)), ..picker(Vec::new(), None) };
    let mut row = granted(1);
    row.grants[0].app = shown(evil);
    row.grants[0].value = evil.into();
    row.grants[0].scopes = vec![evil.into()];
    for page in [page.render(), pick.render(), row.render()] {
        assert!(!page.html.contains("<script") && !page.html.contains("<img"), "{}", main_of(&page));
        assert!(page.html.contains("&#60;script&#62;"), "{}", main_of(&page));
        assert_eq!(page.html.matches("</title>").count(), 1);
    }
    let html = consent("patient/Patient.rs", Kept::Session);
    let named = Consent { app: shown("Good\u{202E}live"), ..html }.render().html;
    assert!(named.contains("Goodlive") && !named.contains('\u{202E}'));
}

/// SC-17, US-02, US-04: a whole type offers its categories, offline access says so, and the form that comes back is read.
#[test]
fn sc_17_the_consent_page_offers_every_row_and_its_answer_is_kept() {
    let granted: ScopeSet = WIDE.parse().unwrap();
    let page = consent(WIDE, Kept::Session).render().html;
    let rows = choice::choices(&granted);
    assert_eq!(page.matches("type=\"checkbox\"").count(), rows.len());
    assert_eq!(page.matches(" checked aria-").count(), rows.len(), "everything is ticked at first");
    for (at, row) in rows.iter().enumerate() {
        assert!(
            page.contains(&format!("for=\"grant-{at}\"")) && page.contains(&format!("id=\"about-{at}\"")),
            "{}",
            row.id
        );
    }
    assert!(page.contains("Laboratory results") && page.contains("Health concerns"));
    assert!(page.contains("can change the record") && page.contains("May see, add and change"));
    assert!(!page.contains("3 months"));
    assert!(consent("patient/Patient.rs", Kept::Offline).render().html.contains("for up to 3 months"), "US-02");

    let body = rows
        .iter()
        .filter(|row| !row.id.ends_with("|laboratory"))
        .map(|row| format!("&grant={}", row.id.replace('|', "%7C").replace('=', "%3D")))
        .fold("request=r-1&csrf=x&decision=allow".to_owned(), |body, row| body + &row);
    let form = forms::read_consent(body.as_bytes()).unwrap();
    let kept = choice::keep(&granted, &form.ticked).unwrap().to_string();
    assert!(
        !kept.contains("laboratory") && kept.contains("|vital-signs") && kept.contains("patient/Condition.read"),
        "{kept}"
    );

    // Shown again, it keeps what was un-ticked.
    let again =
        Consent { ticked: Some(form.ticked), problem: Some(ConsentProblem::Nothing), ..consent(WIDE, Kept::Session) };
    let page = again.render();
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(page.html.matches(" checked aria-").count(), rows.len() - 1);
}

#[test]
fn tokens_are_sealed_in_print_and_compared_whole() {
    let token = csrf();
    assert!(
        token.matches(token.as_str())
            && !token.matches("")
            && !token.matches("x")
            && !token.matches(&format!("{}A", token.as_str()))
    );
    assert!(!format!("{token:?}").contains(token.as_str()));
    assert!(
        Csrf::of(token.as_str()).is_some()
            && Csrf::of("short").is_none()
            && Csrf::of("not base64url!!!!!!!!!!!!!!!!").is_none()
    );
}
