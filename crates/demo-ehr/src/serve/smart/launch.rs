//! Launches from the EHR: the page on which a person starts an app, and handles made by program.

use super::answer::{page, pair, redirect, with_parameters, wrong_method};
use super::context::{LaunchContext, LaunchError};
use super::form::Form;
use super::{Smart, page};
use crate::requests::Seen;
use crate::serve::compartment::belongs;
use crate::serve::route::{State, find};
use crate::serve::wire::Response;

impl Smart {
    /// `GET /launch` shows the page, `POST /launch` starts an app.
    pub(super) fn launch_page(&self, seen: &Seen, state: &State) -> Response {
        let apps: Vec<&str> = self.launchable().collect();
        match seen.method.as_str() {
            "GET" => {
                let form = Form::query(seen);
                let picked = page::Picked {
                    client_id: form.get("client_id"),
                    practitioner: form.get("practitioner"),
                    patient: form.get("patient"),
                };
                page(200, page::launcher(&apps, &picked, state))
            }
            "POST" => {
                let Some(form) = Form::body(seen).filter(|form| form.repeated().is_none()) else {
                    return page(400, page::problem("no form, or something comes twice"));
                };
                let context = LaunchContext {
                    patient: form.get("patient").map(str::to_owned),
                    encounter: form.get("encounter").map(str::to_owned),
                    intent: form.get("intent").map(str::to_owned),
                    ..LaunchContext::of(form.get("practitioner").unwrap_or(""))
                };
                match self.launch(form.get("client_id").unwrap_or(""), context, state) {
                    Ok((url, pairs)) => redirect(&url, &pairs),
                    Err(why) => page(400, page::problem(&why.to_string())),
                }
            }
            _ => wrong_method("GET, POST"),
        }
    }

    /// Where the page is.
    pub(crate) fn launch_page_url(&self) -> String {
        format!("{}/launch", self.issuer)
    }

    /// Apps that have a launch URL, and names of further launch URLs.
    fn launchable(&self) -> impl Iterator<Item = &str> {
        self.clients.values().flat_map(|client| {
            let own = client.launch_url.as_ref().map(|_| client.client_id.as_str());
            own.into_iter().chain(client.launch_urls.iter().map(|(name, _)| name.as_str()))
        })
    }

    /// Whose launch this app's is, and where it begins: an app is a client, or one of the names a client has beside its own.
    fn begins_at(&self, app: &str) -> Result<(&str, &str), LaunchError> {
        if let Some(client) = self.clients.get(app) {
            let url = client.launch_url.as_deref().ok_or_else(|| LaunchError::NotLaunchable(app.to_owned()))?;
            return Ok((&client.client_id, url));
        }
        let mut all = self.clients.values().flat_map(|client| {
            client.launch_urls.iter().map(|(name, url)| (client.client_id.as_str(), name.as_str(), url.as_str()))
        });
        let found = all.find(|(_, name, _)| *name == app).map(|(client, _, url)| (client, url));
        found.ok_or_else(|| LaunchError::Client(app.to_owned()))
    }

    /// The launch URL with `iss` and a new handle.
    pub(crate) fn launch_url(
        &self,
        client_id: &str,
        context: LaunchContext,
        state: &State,
    ) -> Result<String, LaunchError> {
        self.launch(client_id, context, state).map(|(url, pairs)| with_parameters(&url, &pairs))
    }

    /// Where an app starts, and with which parameters (LN-01).
    fn launch(
        &self,
        client_id: &str,
        context: LaunchContext,
        state: &State,
    ) -> Result<(String, Vec<(String, String)>), LaunchError> {
        let (client, url) = self.begins_at(client_id)?;
        let handle = self.mint(client, context, state)?;
        Ok((url.to_owned(), vec![pair("iss", &state.base), pair("launch", &handle)]))
    }

    /// A handle for this app and context, whose people and resources must all be here and belong together.
    pub(crate) fn mint(&self, client_id: &str, context: LaunchContext, state: &State) -> Result<String, LaunchError> {
        if !self.clients.contains_key(client_id) {
            return Err(LaunchError::Client(client_id.to_owned()));
        }
        let person = Some(("Practitioner", Some(&context.practitioner)));
        let chart = [("Patient", context.patient.as_ref()), ("Encounter", context.encounter.as_ref())];
        for (kind, id) in person.into_iter().chain(chart) {
            if let Some(id) = id.filter(|id| !page::is_here(state, kind, id)) {
                return Err(LaunchError::Resource(format!("{kind}/{id}")));
            }
        }
        if let Some(encounter) = &context.encounter {
            let reference = format!("Encounter/{encounter}");
            let shelf = state.shelf.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            let own = context.patient.as_deref().zip(find(&shelf, &reference));
            if !own.is_some_and(|(patient, stored)| belongs(&stored.resource, patient, &state.base)) {
                return Err(LaunchError::Resource(reference));
            }
        }
        self.book().mint(client_id, context, self.clock.now()).ok_or(LaunchError::Unable)
    }
}
