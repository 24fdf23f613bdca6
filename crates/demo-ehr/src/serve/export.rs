//! Bulk Data Access: a job that is under way when it is first asked for, and done when it is asked again.
//!
//! Of the parameters it knows `_type` alone: like many servers it passes over `_typeFilter`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use fhir::compartment::patient_paths;
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::search::compare::{elements, local};
use crate::serve::message::{Ask, Content, Refused, Reply};
use crate::serve::route::State;
use crate::shelf::{Found, Shelf, Stored};
use crate::{search, time};

/// Where jobs are, below the base.
pub(super) const JOBS: &str = "export-job";
/// Where files are, below the base.
pub(super) const FILES: &str = "export-file";
/// Types that belong to nobody, of which all are exported.
const SHARED: [&str; 5] = ["Location", "Medication", "Organization", "Practitioner", "PractitionerRole"];

/// The jobs of one upstream.
#[derive(Default)]
pub(crate) struct Exports(Mutex<BTreeMap<u64, Job>>);

#[derive(Clone)]
struct Job {
    /// `Patient/id` of each member; none: everybody.
    members: Option<Vec<String>>,
    kinds: Vec<String>,
    request: String,
    asked: u32,
}

impl State {
    /// Answers a step of an export; none for anything else.
    pub(super) fn export(&self, shelf: &Shelf, ask: &Ask<'_>, segments: &[&str], faults: &[Fault]) -> Option<Reply> {
        match (ask.method, segments) {
            ("GET", ["Group", id, "$export"]) => Some(self.kick_off(shelf, Some(id), ask)),
            ("GET", ["Patient", "$export"]) => Some(self.kick_off(shelf, None, ask)),
            ("GET", [JOBS, job]) => Some(self.job(shelf, job, faults)),
            ("DELETE", [JOBS, job]) => Some(self.cancel(job)),
            ("GET", [FILES, job, kind]) => Some(self.file(shelf, job, kind, faults)),
            _ => None,
        }
    }

    fn kick_off(&self, shelf: &Shelf, group: Option<&str>, ask: &Ask<'_>) -> Reply {
        if !ask.prefer.unwrap_or_default().contains("respond-async") {
            return Refused::new(400, "invalid", "exports are asked for with Prefer: respond-async").into();
        }
        let members = match group.map(|id| shelf.find("Group", id)) {
            None => None,
            Some(Found::Here(stored)) => Some(members(&stored.resource, &self.base)),
            Some(Found::Deleted | Found::Absent) => {
                return Refused::new(404, "not-found", "no such Group").into();
            }
        };
        let asked = search::pairs(ask.query).into_iter().filter(|(name, _)| name == "_type");
        let mut kinds: Vec<String> =
            asked.flat_map(|(_, value)| value.split(',').map(str::to_owned).collect::<Vec<_>>()).collect();
        if kinds.is_empty() {
            kinds = shelf.kinds().map(str::to_owned).collect();
        }
        let request = format!("{}/{}?{}", self.base, ask.path, ask.query);
        let mut jobs = self.exports.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = jobs.keys().last().map_or(1, |last| last + 1);
        jobs.insert(number, Job { members, kinds, request, asked: 0 });
        let headers = vec![("content-location", format!("{}/{JOBS}/{number}", self.base))];
        Reply { status: 202, headers, ..Reply::default() }
    }

    fn job(&self, shelf: &Shelf, number: &str, faults: &[Fault]) -> Reply {
        let job = {
            let mut jobs = self.exports.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(job) = number.parse().ok().and_then(|number: u64| jobs.get_mut(&number)) else {
                return no_job();
            };
            job.asked += 1;
            job.clone()
        };
        if job.asked == 1 {
            let headers = vec![("x-progress", "half of it".to_owned()), ("retry-after", "1".to_owned())];
            return Reply { status: 202, headers, ..Reply::default() };
        }
        let at = faults.iter().find_map(|fault| match fault {
            Fault::ExportFilesAt(origin) => Some(origin.as_str()),
            _ => None,
        });
        let files = at.unwrap_or(&self.base);
        let with_lines = |kind: &&String| self.lines(shelf, &job, kind, faults).next().is_some();
        let output: Vec<Value> = job
            .kinds
            .iter()
            .filter(with_lines)
            .map(|kind| json!({"type": kind, "url": format!("{files}/{FILES}/{number}/{kind}")}))
            .collect();
        let manifest = faults.iter().find_map(|fault| match fault {
            Fault::ExportManifest(manifest) => Some(manifest.clone()),
            _ => None,
        });
        let manifest = manifest.unwrap_or_else(|| {
            json!({"transactionTime": time::instant(self.now), "request": job.request, "requiresAccessToken": true,
                "output": output, "error": []})
        });
        let body = manifest.to_string().into_bytes();
        Reply { status: 200, content: Content::Raw("application/json".to_owned(), body), ..Reply::default() }
    }

    fn cancel(&self, number: &str) -> Reply {
        let mut jobs = self.exports.0.lock().unwrap_or_else(PoisonError::into_inner);
        match number.parse().ok().and_then(|number: u64| jobs.remove(&number)) {
            Some(_) => Reply { status: 202, ..Reply::default() },
            None => no_job(),
        }
    }

    fn file(&self, shelf: &Shelf, number: &str, kind: &str, faults: &[Fault]) -> Reply {
        let job = {
            let jobs = self.exports.0.lock().unwrap_or_else(PoisonError::into_inner);
            number.parse().ok().and_then(|number: u64| jobs.get(&number).cloned())
        };
        let Some(job) = job.filter(|job| job.kinds.iter().any(|known| known == kind)) else { return no_job() };
        let mut text = String::new();
        for stored in self.lines(shelf, &job, kind, faults) {
            text.push_str(&stored.resource.to_string());
            text.push('\n');
        }
        for fault in faults {
            if let Fault::ExportLine(line) = fault {
                text.push_str(line);
                text.push('\n');
            }
        }
        let content = Content::Raw("application/fhir+ndjson".to_owned(), text.into_bytes());
        Reply { status: 200, content, ..Reply::default() }
    }

    /// The resources of a type that a job holds.
    fn lines<'s>(
        &'s self,
        shelf: &'s Shelf,
        job: &'s Job,
        kind: &'s str,
        faults: &[Fault],
    ) -> impl Iterator<Item = &'s Stored> {
        let everyone = faults.contains(&Fault::ExportOfEveryone);
        let paths = kind.parse().map(patient_paths).unwrap_or_default();
        shelf.all(kind).filter(move |stored| {
            let Some(members) = job.members.as_ref().filter(|_| !everyone) else { return true };
            if SHARED.contains(&kind) {
                return true;
            }
            let own = format!("{kind}/{}", stored.id);
            members.contains(&own)
                || paths.iter().flat_map(|path| elements(&stored.resource, path.elements)).any(|element| {
                    let reference = element.get("reference").and_then(Value::as_str);
                    reference.is_some_and(|text| members.contains(&local(text, &self.base).to_owned()))
                })
        })
    }
}

fn members(group: &Value, base: &str) -> Vec<String> {
    let list = group.get("member").and_then(Value::as_array);
    let references = list.into_iter().flatten().filter_map(|member| member.pointer("/entity/reference")?.as_str());
    references.map(|text| local(text, base).to_owned()).collect()
}

fn no_job() -> Reply {
    Refused::new(404, "not-found", "HAPI-2040: no such export, or it is another's").into()
}
