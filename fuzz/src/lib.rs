//! What the targets about resources share: one session for Patient/P1, an upstream, and the naive opinion of what it gives.

use domain::Operation;
use fhir::json::Document;
use policy::{Decision, UpstreamAnswer, UpstreamBody, UpstreamCall, Verb};
use serde_json::{Value, json};
use testkit::naive::{self, Session};
use testkit::world::{Ran, UPSTREAM, World, answer, run};

/// Observation is granted in this slice only.
const SLICE: &[(&str, &str)] = &[("category", "vital-signs")];
const SHARED: &[&str] = &["Practitioner", "Organization", "Location", "Medication"];

/// Whom every stored Observation names as its performer: masked in what is read, and put back in what is written.
const HIDDEN: &str = "Patient/hidden";

/// Scope clauses as the naive opinion takes them.
type Clause = (&'static str, &'static [(&'static str, &'static str)]);

/// A session with every type the naive opinion knows, Observation in one slice.
pub struct Held {
    /// As `policy` sees it.
    pub world: World,
    clauses: Vec<Clause>,
}

impl Held {
    /// With these letters on every type, and every operation.
    #[must_use]
    pub fn new(letters: &str) -> Self {
        let slice = |kind: &str| if kind == "Observation" { "?category=vital-signs" } else { "" };
        let scopes: Vec<String> =
            naive::known_types().iter().map(|kind| format!("patient/{kind}.{letters}{}", slice(kind))).collect();
        let mut world = World::new(&scopes.join(" "));
        world.profile.operations = [Operation::Everything, Operation::LastN].into();
        let clauses = naive::known_types()
            .into_iter()
            .map(|kind| (kind, if kind == "Observation" { SLICE } else { &[] }))
            .collect();
        Self { world, clauses }
    }

    fn session(&self) -> Session<'_> {
        Session { patient: "P1", upstream: UPSTREAM, clauses: &self.clauses, shared: SHARED }
    }

    /// A resource that is answered to a read of itself is released only if the naive opinion has it so. Whether it was.
    #[must_use]
    pub fn read(&self, bytes: &[u8]) -> bool {
        let Some(resource) = naive::read(bytes) else { return false };
        let Some((kind, id)) = named(&resource) else { return false };
        let Ok(Decision::Permit(permit)) = self.world.get(&format!("{kind}/{id}")) else { return false };
        let ran = run(Decision::Permit(permit), &mut once(bytes));
        self.leaks_nothing(&ran);
        let released = ran.end.is_ok_and(|released| released.status() == 200);
        // A Binary that says nothing of its owner may be proved by a document; none is here, and so the opinion counts.
        assert!(!released || naive::may_release(&self.session(), &resource), "{resource}");
        released
    }

    /// Bytes answered to `target`: of the entries of a Bundle only those are released that may be. How many were.
    pub fn bundle(&self, target: &str, bytes: &[u8]) -> Option<usize> {
        let Ok(Decision::Permit(permit)) = self.world.get(target) else { return None };
        let ran = run(Decision::Permit(permit), &mut once(bytes));
        self.leaks_nothing(&ran);
        let released = ran.end.ok().filter(|released| released.status() == 200)?;
        // serde reads no numbers out of range of an f64, and so has no opinion of what holds one.
        let answered = naive::read(bytes)?;
        let shown = naive::read(released.body()).expect("what is released is strict JSON");
        let (session, answered) = (self.session(), resources(&answered));
        let shown = resources(&shown);
        for resource in &shown {
            let name = named(resource).expect("what is released has a type and an id");
            let many = shown.iter().filter(|other| named(other) == Some(name)).count();
            let may = answered.iter().filter(|other| named(other) == Some(name) && naive::may_release(&session, other));
            assert!(name.0 == "OperationOutcome" || many <= may.count(), "{}/{}", name.0, name.1);
        }
        Some(shown.len())
    }

    /// Plays a decision against the upstream of [`stored`]: what it writes is the session's, what it shows leaks nothing.
    pub fn play(&self, decision: Decision) {
        let ran = run(decision, &mut stored);
        for call in &ran.calls {
            assert!(!speaks_of_another(&call.path), "{}", call.path);
        }
        for call in ran.writes() {
            match &call.body {
                Some(UpstreamBody::Resource(text)) => self.may_write(call, text),
                Some(UpstreamBody::Form(_)) => unreachable!("a form writes nothing"),
                None => assert!(call.verb == Verb::Delete),
            }
        }
        self.leaks_nothing(&ran);
    }

    fn may_write(&self, call: &UpstreamCall, text: &str) {
        assert!(Document::parse(text.as_bytes()).is_ok(), "what is sent is strict JSON");
        let Some(sent) = naive::read(text.as_bytes()) else { return };
        if !call.path.is_empty() {
            return self.may_store(sent);
        }
        let mut names: Vec<(String, String)> = Vec::new();
        for entry in sent["entry"].as_array().expect("a transaction is a list") {
            if let (Some(url), Some(kind)) = (entry["fullUrl"].as_str(), entry["resource"]["resourceType"].as_str()) {
                names.push((url.to_owned(), format!("{kind}/new")));
            }
            let method = &entry["request"]["method"];
            assert!(method == "GET" || method == "POST" || entry["request"]["ifMatch"] == "W/\"1\"", "{entry}");
        }
        for resource in resources(&sent) {
            let mut resource = resource.clone();
            // What one entry calls another is no reference the naive opinion could know.
            rename(&mut resource, &names);
            self.may_store(resource);
        }
    }

    fn may_store(&self, mut resource: Value) {
        let id = resource.as_object_mut().expect("what is sent is a resource").entry("id").or_insert(json!("new"));
        assert!(id.is_string());
        assert!(naive::may_release(&self.session(), &resource), "{resource}");
        let mut texts = Vec::new();
        references(&resource, &mut texts);
        let others: Vec<_> = texts.into_iter().filter(|text| speaks_of_another(text)).collect();
        assert!(others.is_empty() || others == [HIDDEN], "{resource}");
    }

    fn leaks_nothing(&self, ran: &Ran) {
        let Ok(released) = &ran.end else { return };
        // The content of a Binary is bytes of its own.
        if let (policy::Content::Fhir, Some(body)) = (released.content(), naive::read(released.body())) {
            assert_eq!(naive::leak(&self.session(), &body), None);
        }
    }
}

/// Answers these bytes to the first call and nothing to what follows.
fn once(bytes: &[u8]) -> impl FnMut(&UpstreamCall) -> UpstreamAnswer {
    let mut first = true;
    move |_| if std::mem::take(&mut first) { answer(200, bytes) } else { answer(404, b"") }
}

/// A server where everything that is asked for by id is P1's, and that lies about what it stored.
fn stored(call: &UpstreamCall) -> UpstreamAnswer {
    let (kind, id) = call.path.split_once('/').unwrap_or((&call.path, ""));
    match (call.verb, &call.body) {
        (Verb::Get, _) if id.is_empty() => answer(200, br#"{"resourceType":"Bundle","type":"searchset"}"#),
        (Verb::Get, _) => answer(200, owned(kind, id).to_string().as_bytes()),
        (Verb::Delete, _) => UpstreamAnswer { status: 204, ..UpstreamAnswer::default() },
        (Verb::Put, Some(UpstreamBody::Resource(sent))) => answer(200, sent.as_bytes()),
        (Verb::Post, Some(UpstreamBody::Resource(sent))) if kind.is_empty() => {
            let sent: Value = serde_json::from_str(sent).unwrap_or_default();
            let foreign = json!({"resourceType": "Observation", "id": "o", "subject": {"reference": "Patient/P2"}});
            let entry = json!({"response": {"status": "200", "location": "Patient/P2"}, "resource": foreign});
            let entries = vec![entry; sent["entry"].as_array().map_or(0, Vec::len)];
            let bundle = json!({"resourceType": "Bundle", "type": "transaction-response", "entry": entries});
            answer(200, bundle.to_string().as_bytes())
        }
        _ => {
            let foreign = json!({"resourceType": kind, "id": "new", "subject": {"reference": "Patient/P2"}});
            answer(201, foreign.to_string().as_bytes())
        }
    }
}

fn owned(kind: &str, id: &str) -> Value {
    let id = id.split('/').next().unwrap_or(id);
    let mut resource = json!({"resourceType": kind, "id": id, "meta": {"versionId": "1"}, "status": "draft"});
    if kind == "Observation" {
        resource["category"] = json!([{"coding": [{"code": "vital-signs"}]}]);
        resource["performer"] = json!([{"reference": HIDDEN, "display": "Two"}]);
    }
    if let Some((_, at)) = naive::owned_types().find(|(known, _)| *known == kind) {
        let patient = json!({"reference": "Patient/P1"});
        match at.split_once('.') {
            Some((outer, inner)) => resource[outer] = json!([{inner: patient}]),
            None => resource[at] = patient,
        }
    }
    resource
}

/// Type and id.
fn named(resource: &Value) -> Option<(&str, &str)> {
    Some((resource.get("resourceType")?.as_str()?, resource.get("id").map_or(Some(""), Value::as_str)?))
}

/// The resources in the entries of a Bundle.
fn resources(bundle: &Value) -> Vec<&Value> {
    let entries = bundle.get("entry").and_then(Value::as_array).into_iter().flatten();
    entries.filter_map(|entry| entry.get("resource")).collect()
}

fn rename(value: &mut Value, names: &[(String, String)]) {
    match value {
        Value::String(text) => {
            if let Some((_, name)) = names.iter().find(|(url, _)| url == text) {
                text.clone_from(name);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, names)),
        Value::Object(members) => members.values_mut().for_each(|value| rename(value, names)),
        _ => {}
    }
}

fn references<'v>(value: &'v Value, out: &mut Vec<&'v str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, out)),
        Value::Object(members) => {
            out.extend(members.get("reference").and_then(Value::as_str));
            members.values().for_each(|value| references(value, out));
        }
        _ => {}
    }
}

/// Whether a reference or a path names a patient who is not P1.
#[must_use]
pub fn speaks_of_another(text: &str) -> bool {
    let text = text.strip_prefix(UPSTREAM).map_or(text, |rest| rest.trim_start_matches('/'));
    let own = text.strip_prefix("Patient/P1").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    !own && !text.starts_with('#') && text.split(['/', '?', '#', '|']).skip_while(|part| *part != "Patient").count() > 1
}
