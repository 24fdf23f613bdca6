//! The pages of the launch side: plain HTML without script, each saying that this is a demonstration.

use std::fmt::Write as _;
use std::sync::PoisonError;

use serde_json::Value;

use super::book::Asked;
use super::scope;
use crate::serve::compartment::belongs;
use crate::serve::route::State;
use crate::shelf::Found;

/// Most clinicians to choose from.
const CLINICIANS_MAX: usize = 3;
/// Most patients to choose from; any other can be named by id.
const PATIENTS_MAX: usize = 100;
/// Most encounters to choose from.
const ENCOUNTERS_MAX: usize = 50;

const STYLE: &str = "body{font:16px/1.5 sans-serif;color:#1c2733;background:#fff;max-width:40rem;margin:2rem auto;\
    padding:0 1rem}label{display:block;margin:1rem 0 .25rem;font-weight:bold}select,button{font:inherit;padding:.4rem}\
    select{width:100%}button{margin:1.5rem .5rem 0 0}.note{background:#fff4d6;border-left:4px solid #8a5a00;\
    padding:.5rem 1rem}[role=alert]{border-left:4px solid #b00020;padding:.5rem 1rem}";

/// What is chosen so far on the launch page.
pub(super) struct Picked<'a> {
    pub(super) client_id: Option<&'a str>,
    pub(super) practitioner: Option<&'a str>,
    pub(super) patient: Option<&'a str>,
}

/// Whether this resource is here.
pub(super) fn is_here(state: &State, kind: &str, id: &str) -> bool {
    let shelf = state.shelf.read().unwrap_or_else(PoisonError::into_inner);
    matches!(shelf.find(kind, id), Found::Here(_))
}

/// A page that says what is wrong.
pub(super) fn problem(says: &str) -> String {
    whole("This cannot go on", &format!("<p role=\"alert\">{}</p>", text(says)))
}

/// The page on which a person starts an app: first who and for whom, then in which encounter.
pub(super) fn launcher(apps: &[&str], picked: &Picked<'_>, state: &State) -> String {
    if apps.is_empty() {
        return whole("Start an app", "<p>No app with a launch URL is registered.</p>");
    }
    let mut form = String::new();
    let Some(patient) = picked.patient.filter(|id| is_here(state, "Patient", id)) else {
        form.push_str("<form method=\"get\" action=\"/launch\">");
        let apps = apps.iter().map(|id| ((*id).to_owned(), (*id).to_owned()));
        form.push_str(&select("client_id", "App", apps, picked.client_id));
        form.push_str(&select("practitioner", "Clinician", people(state, "Practitioner"), picked.practitioner));
        form.push_str(&select("patient", "Patient", people(state, "Patient"), None));
        form.push_str("<button>Next: encounter</button></form>");
        return whole("Start an app", &form);
    };
    form.push_str("<form method=\"post\" action=\"/launch\">");
    let kept = [
        ("App", "client_id", picked.client_id),
        ("Clinician", "practitioner", picked.practitioner),
        ("Patient", "patient", Some(patient)),
    ];
    form.push_str("<dl>");
    for (label, name, value) in kept {
        let value = text(value.unwrap_or(""));
        let _infallible =
            write!(form, "<dt>{label}</dt><dd>{value}<input type=\"hidden\" name=\"{name}\" value=\"{value}\"></dd>");
    }
    form.push_str("</dl>");
    let encounters = std::iter::once((String::new(), "none".to_owned())).chain(encounters(state, patient));
    form.push_str(&select("encounter", "Encounter", encounters, None));
    form.push_str("<button>Launch</button> <a href=\"/launch\">Choose again</a></form>");
    whole("Start an app", &form)
}

/// The page on which a person signs in and opens a chart for an app that started on its own.
pub(super) fn chooser(asked: &Asked, name: &str, state: &State, says: Option<&str>) -> String {
    let mut form = says.map_or_else(String::new, |says| format!("<p role=\"alert\">{}</p>", text(says)));
    let _infallible = write!(
        form,
        "<p><strong>{}</strong> asks for:</p><ul>{}</ul><form method=\"post\" action=\"/authorize/choose\">\
         <input type=\"hidden\" name=\"request\" value=\"{}\">",
        text(&asked.client_id),
        asked.scope.iter().map(|scope| format!("<li><code>{}</code></li>", text(scope))).collect::<String>(),
        text(name)
    );
    form.push_str(&select("practitioner", "Sign in as", people(state, "Practitioner"), None));
    if scope::need_patient(&asked.scope) {
        form.push_str(&select("patient", "Open the chart of", people(state, "Patient"), None));
    }
    form.push_str(
        "<button name=\"decision\" value=\"allow\">Allow</button>\
         <button name=\"decision\" value=\"deny\">Refuse</button></form>",
    );
    whole("Sign in", &form)
}

/// Ids and names of the first people of a type.
fn people(state: &State, kind: &str) -> Vec<(String, String)> {
    let most = if kind == "Patient" { PATIENTS_MAX } else { CLINICIANS_MAX };
    let shelf = state.shelf.read().unwrap_or_else(PoisonError::into_inner);
    let name = |resource: &Value| {
        let part = |path: &str| resource.pointer(path).and_then(Value::as_str).unwrap_or("").to_owned();
        let name = [part("/name/0/prefix/0"), part("/name/0/given/0"), part("/name/0/family")].join(" ");
        let born = part("/birthDate");
        let born = if born.is_empty() { born } else { format!(", born {born}") };
        format!("{}{born} ({})", name.trim(), part("/id"))
    };
    shelf.all(kind).take(most).map(|stored| (stored.id.clone(), name(&stored.resource))).collect()
}

/// Ids and descriptions of a patient's encounters.
fn encounters(state: &State, patient: &str) -> Vec<(String, String)> {
    let shelf = state.shelf.read().unwrap_or_else(PoisonError::into_inner);
    let own = shelf.all("Encounter").filter(|stored| belongs(&stored.resource, patient, &state.base));
    own.take(ENCOUNTERS_MAX)
        .map(|stored| {
            let start = stored.resource.pointer("/period/start").and_then(Value::as_str).unwrap_or("no date");
            (stored.id.clone(), format!("{start} ({})", stored.id))
        })
        .collect()
}

/// A labelled list to choose one of.
fn select(
    name: &str,
    label: &str,
    options: impl IntoIterator<Item = (String, String)>,
    picked: Option<&str>,
) -> String {
    let options: String = options
        .into_iter()
        .map(|(value, shown)| {
            let selected = if picked == Some(value.as_str()) { " selected" } else { "" };
            format!("<option value=\"{}\"{selected}>{}</option>", text(&value), text(&shown))
        })
        .collect();
    format!("<label for=\"{name}\">{label}</label><select id=\"{name}\" name=\"{name}\">{options}</select>")
}

fn whole(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>{title} - demonstration EHR</title><style>{STYLE}</style>\
         </head><body><main><p class=\"note\">This is a demonstration EHR: its people are invented, and it asks nobody \
         for a password.</p><h1>{title}</h1>{body}</main></body></html>"
    )
}

/// Text between tags and in attributes.
fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
