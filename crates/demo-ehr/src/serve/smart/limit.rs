//! What an app's token opens at the FHIR base: the types of its scopes, and with `patient/` one patient's records.
//!
//! Simple, and narrow where it is simple: what cannot be told to be this patient's is refused. While faults are on, lists
//! hold whatever the fault brings, as from a server that misbehaves.

use std::sync::PoisonError;

use serde_json::Value;

use super::AppToken;
use super::scope::{Level, Scope};
use crate::fault::Fault;
use crate::search::compare::local;
use crate::serve::compartment::belongs;
use crate::serve::message::{Ask, Refused, Reply};
use crate::serve::route::{State, segments};
use crate::shelf::{Change, Shelf, Stored};

/// Types that are nobody's, which `patient/` scopes open for reading.
const SHARED: [&str; 6] = ["Binary", "Location", "Medication", "Organization", "Practitioner", "PractitionerRole"];
/// Parameters that name the patient a search is about.
const PATIENT_PARAMETERS: [&str; 4] = ["patient", "subject", "beneficiary", "_id"];

/// What a request needs.
struct Need<'a> {
    kind: &'a str,
    /// The instance it is about, if it is about one.
    id: Option<&'a str>,
    action: char,
}

impl<'a> Need<'a> {
    /// Reads a request; none for what no app's token opens.
    fn read(method: &str, segments: &[&'a str]) -> Option<Self> {
        let need = |kind, id, action| Some(Self { kind, id, action });
        match (method, segments) {
            ("GET" | "HEAD" | "POST", ["Patient", id, "$everything"]) => need("Patient", Some(*id), 'r'),
            ("GET" | "HEAD" | "POST", ["Observation", "$lastn"]) => need("Observation", None, 's'),
            (_, [_, second, ..]) if second.starts_with('$') => None,
            ("GET" | "HEAD", [kind]) | ("POST", [kind, "_search"]) => need(*kind, None, 's'),
            ("POST", [kind]) => need(*kind, None, 'c'),
            ("GET" | "HEAD", [kind, id]) | ("GET" | "HEAD", [kind, id, "_history", ..]) => need(*kind, Some(*id), 'r'),
            ("PUT" | "PATCH", [kind, id]) => need(*kind, Some(*id), 'u'),
            ("DELETE", [kind, id]) => need(*kind, Some(*id), 'd'),
            _ => None,
        }
        .filter(|need| need.kind.parse::<fhir::ResourceType>().is_ok())
    }

    fn reads(&self) -> bool {
        matches!(self.action, 'r' | 's')
    }
}

/// A token against one EHR.
struct Holder<'a> {
    scopes: Vec<Scope>,
    patient: Option<&'a str>,
    base: &'a str,
}

/// Answers a request with an app's token.
pub(in crate::serve) fn answer(token: &AppToken, state: &State, ask: &Ask<'_>, faults: &[Fault]) -> Reply {
    let scopes = token.scope.split(' ').filter_map(Scope::read).collect();
    let holder = Holder { scopes, patient: token.patient.as_deref(), base: &state.base };
    let decoded = segments(ask.path);
    let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let checked = {
        let shelf = state.shelf.read().unwrap_or_else(PoisonError::into_inner);
        match (ask.method, parts.as_slice()) {
            // A later page of a list: it holds no more than the first.
            ("GET", [] | ["_history"]) => Ok(()),
            ("POST", []) => holder.bundle(&shelf, ask),
            _ => holder.check(&shelf, ask, &parts),
        }
    };
    if let Err(says) = checked {
        return Refused::new(403, "forbidden", says).into();
    }
    let list = match (ask.method, parts.as_slice()) {
        ("GET" | "HEAD", [] | [_] | [_, _, "_history"]) => true,
        ("GET" | "HEAD" | "POST", [.., last]) => last.starts_with(['$', '_']),
        _ => false,
    };
    if !list || !faults.is_empty() {
        return state.answer(ask, faults);
    }
    let view = {
        let shelf = state.shelf.read().unwrap_or_else(PoisonError::into_inner);
        shelf.only(|stored| holder.sees(stored))
    };
    state.look(&view, ask, faults)
}

impl Holder<'_> {
    /// Whose records of a type this may be done with; none: nobody's.
    fn level(&self, kind: &str, action: char) -> Option<Level> {
        let mut covering = self.scopes.iter().filter(|scope| scope.covers(kind, action)).peekable();
        covering.peek()?;
        Some(if covering.any(|scope| scope.level == Level::User) { Level::User } else { Level::Patient })
    }

    /// Whether a resource is the patient's.
    fn owns(&self, resource: &Value) -> bool {
        self.patient.is_some_and(|patient| belongs(resource, patient, self.base))
    }

    /// Whether a version may stand in a list.
    fn sees(&self, stored: &Stored) -> bool {
        let level = self.level(&stored.kind, 's').or_else(|| self.level(&stored.kind, 'r'));
        match level {
            None => false,
            Some(Level::User) => true,
            Some(Level::Patient) => {
                SHARED.contains(&stored.kind.as_str())
                    || stored.change == Change::Deleted
                    || self.owns(&stored.resource)
            }
        }
    }

    /// Whether a request is within the token.
    fn check(&self, shelf: &Shelf, ask: &Ask<'_>, segments: &[&str]) -> Result<(), &'static str> {
        let need = Need::read(ask.method, segments).ok_or("the token opens nothing of this kind")?;
        match self.level(need.kind, need.action).ok_or("no scope of the token covers this")? {
            Level::User => return Ok(()),
            Level::Patient if need.reads() && SHARED.contains(&need.kind) => return Ok(()),
            Level::Patient => {}
        }
        if let Some(id) = need.id {
            // All of its versions: in an older one it may have been another's.
            let mut versions = shelf.versions(need.kind, id).iter().filter(|stored| stored.change != Change::Deleted);
            let is_own = if segments.contains(&"_history") {
                versions.all(|stored| self.owns(&stored.resource))
            } else {
                versions.next_back().is_none_or(|stored| self.owns(&stored.resource))
            };
            if !is_own {
                return Err("the resource is not this patient's");
            }
        }
        match need.action {
            's' => self.about_the_patient(need.kind, &ask.pairs()),
            'c' | 'u' => {
                let sent: Option<Value> = serde_json::from_str(ask.body).ok();
                let fits = sent.is_some_and(|sent| self.owns(&sent)) && (need.kind, need.action) != ("Patient", 'c');
                if fits { Ok(()) } else { Err("what was sent is not this patient's") }
            }
            _ => Ok(()),
        }
    }

    /// Whether a search names no other patient.
    fn about_the_patient(&self, kind: &str, pairs: &[(String, String)]) -> Result<(), &'static str> {
        let foreign = pairs.iter().any(|(name, value)| {
            let plain = name.split([':', '.']).next().unwrap_or("");
            let names = PATIENT_PARAMETERS.contains(&plain)
                && (plain != "_id" || kind == "Patient")
                && !name.ends_with(":identifier");
            names && value.split(',').any(|one| !self.is_patient(one))
        });
        if foreign { Err("the search is about another patient") } else { Ok(()) }
    }

    fn is_patient(&self, value: &str) -> bool {
        let own = local(value, self.base);
        self.patient.is_some_and(|patient| own.strip_prefix("Patient/").unwrap_or(&own) == patient)
    }

    /// Whether every entry of a Bundle of requests is within the token. Searches in it must name the patient and
    /// include nothing: their answers are not looked through.
    fn bundle(&self, shelf: &Shelf, ask: &Ask<'_>) -> Result<(), &'static str> {
        let sent: Value = serde_json::from_str(ask.body).map_err(|_| "the body is no JSON")?;
        let entries = sent.get("entry").and_then(Value::as_array);
        for entry in entries.into_iter().flatten() {
            let request = |key: &str| entry.pointer(&format!("/request/{key}")).and_then(Value::as_str).unwrap_or("");
            let url = request("url");
            let url = url.strip_prefix(self.base).unwrap_or(url).trim_start_matches('/');
            let (path, query) = url.split_once('?').unwrap_or((url, ""));
            let body = entry.get("resource").map(Value::to_string).unwrap_or_default();
            let ask = Ask { method: request("method"), path, query, body: &body, ..Ask::default() };
            let decoded = segments(path);
            let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
            self.check(shelf, &ask, &parts)?;
            let need = Need::read(ask.method, &parts).ok_or("the token opens nothing of this kind")?;
            let operation = parts.iter().any(|part| part.starts_with('$'));
            if (need.action == 's' || operation) && self.level(need.kind, need.action) == Some(Level::Patient) {
                let pairs = ask.pairs();
                let named = pairs.iter().any(|(name, value)| {
                    PATIENT_PARAMETERS.contains(&name.as_str())
                        && (name != "_id" || need.kind == "Patient")
                        && self.is_patient(value)
                });
                let includes =
                    pairs.iter().any(|(name, _)| name.starts_with("_include") || name.starts_with("_revinclude"));
                if operation || includes || !(named || SHARED.contains(&need.kind)) {
                    return Err("a search within a Bundle names the patient and includes nothing");
                }
            }
        }
        Ok(())
    }
}
