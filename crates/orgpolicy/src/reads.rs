//! What a policy reads of its context, and with that how long a decision by it holds.

use std::collections::BTreeSet;

use serde_json::Value;

/// How long what a policy says stays true.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Stability {
    /// As long as the session: decided once for each interaction and type.
    Session,
    /// It reads time or network: decided for every request.
    Request,
    /// It reads what the upstream answered: decided for every resource before it is released.
    Answer,
}

impl Stability {
    /// The word for people and programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Request => "request",
            Self::Answer => "answer",
        }
    }
}

/// Attributes that may be unknown, by their path.
pub(crate) const OPTIONAL: [&str; 6] = [
    "session.relationship",
    "session.person",
    "session.person.mfa",
    "session.actor.sub",
    "session.actor.role",
    "session.actor.organization",
];

/// What of `context` is read; a use of it that cannot be followed reads everything.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Reads(BTreeSet<Path>);

/// A dotted path below `context`; the empty one is all of it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Path {
    name: String,
    /// The value is used, with all that is below it; else it is only asked whether there is one.
    used: bool,
}

impl Reads {
    /// Of a condition, or of a whole policy, in Cedar's JSON form.
    pub(crate) fn of(json: &Value) -> Self {
        let mut out = Self::default();
        out.walk(json);
        out
    }

    pub(crate) fn paths(&self) -> BTreeSet<&str> {
        self.0.iter().map(|path| path.name.as_str()).collect()
    }

    /// Whether anything at or below `path`, or all above it, is read.
    pub(crate) fn touches(&self, path: &str) -> bool {
        self.0.iter().any(|read| within(&read.name, path) || within(path, &read.name))
    }

    pub(crate) fn stability(&self) -> Stability {
        if self.touches("answer") {
            Stability::Answer
        } else if self.touches("request") {
            Stability::Request
        } else {
            Stability::Session
        }
    }

    /// Which of [`OPTIONAL`] it reads, by index. Whoever asks for a person alone needs no `mfa`.
    pub(crate) fn optional(&self) -> impl Iterator<Item = usize> {
        let reads =
            |path: &str| self.0.iter().any(|read| within(&read.name, path) || read.used && within(path, &read.name));
        OPTIONAL.iter().enumerate().filter(move |(_, path)| reads(path)).map(|(index, _)| index)
    }

    fn walk(&mut self, json: &Value) {
        if let Some(path) = path(json) {
            self.0.insert(path);
            return;
        }
        match json {
            Value::Object(members) => members.values().for_each(|member| self.walk(member)),
            Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            _ => {}
        }
    }
}

/// Whether `inner` is `outer` or something below it.
fn within(inner: &str, outer: &str) -> bool {
    outer.is_empty() || inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// `context`, or an attribute of it taken or asked for.
fn path(json: &Value) -> Option<Path> {
    let Value::Object(members) = json else { return None };
    if members.get("Var").and_then(Value::as_str) == Some("context") {
        return Some(Path { name: String::new(), used: true });
    }
    let (access, used) = match (members.get("."), members.get("has")) {
        (Some(access), _) => (access, true),
        (None, access) => (access?, false),
    };
    let mut name = path(access.get("left")?)?.name;
    let more: Vec<&str> = match access.get("attr")? {
        Value::String(more) => vec![more],
        Value::Array(more) => more.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    for more in more {
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(more);
    }
    Some(Path { name, used })
}

#[test]
fn a_use_that_cannot_be_followed_reads_everything() {
    let of = |text: &str| Reads::of(&serde_json::from_str(text).unwrap());
    let session = r#"{".":{"left":{"Var":"context"},"attr":"session"}}"#;
    assert_eq!(of(&format!(r#"{{".":{{"left":{session},"attr":"task"}}}}"#)).stability(), Stability::Session);
    assert_eq!(of(r#"{"==":{"left":{"Var":"context"},"right":{"Value":1}}}"#).stability(), Stability::Answer);
    assert_eq!(of(session).stability(), Stability::Session);
    assert!(of(session).touches("session.person.mfa"));
    assert_eq!(of(r#"{"Var":"principal"}"#), Reads::default());
    let has = |left: &str, name: &str| of(&format!(r#"{{"has":{{"left":{left},"attr":"{name}"}}}}"#));
    assert_eq!(has(session, "person").optional().collect::<Vec<_>>(), [1], "who asks for a person needs no `mfa`");
    assert_eq!(has(session, "task").optional().count(), 0);
    let actor = format!(r#"{{".":{{"left":{session},"attr":"actor"}}}}"#);
    assert_eq!(has(&actor, "role").optional().collect::<Vec<_>>(), [4], "one may be known without the others");
    assert_eq!(of(&actor).optional().collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(of(session).optional().count(), OPTIONAL.len(), "a whole session holds them all");
}
