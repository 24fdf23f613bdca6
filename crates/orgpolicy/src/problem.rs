//! A mistake in policy text, and where it stands.

use std::fmt;

use miette::Diagnostic;

/// One mistake, for the person who wrote the text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Line and column, both from 1, if the mistake has a place.
    pub place: Option<(usize, usize)>,
    /// The policy it is in, if that is known.
    pub policy: Option<String>,
    /// What is wrong.
    pub what: String,
}

impl Problem {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { place: None, policy: None, what: what.into() }
    }

    /// Line and column of a byte.
    pub(crate) fn at(text: &str, offset: usize) -> (usize, usize) {
        place(text, offset)
    }

    pub(crate) fn of(policy: &str, text: &str, what: impl Into<String>) -> Self {
        let quoted = format!("\"{policy}\"");
        Self { place: text.find(&quoted).map(|at| place(text, at)), policy: Some(policy.to_owned()), what: what.into() }
    }

    /// What Cedar found, with its first label as the place.
    pub(crate) fn found(policy: Option<&str>, text: &str, why: &(impl Diagnostic + fmt::Display)) -> Self {
        // Cedar says it once for each action the policy may be about.
        let mut what = why.to_string();
        if let Some((once, _)) = what.split_once(" in context for Action::") {
            what = once.to_owned();
        }
        let label = why.labels().and_then(|mut labels| labels.next());
        if let Some(says) = label.as_ref().and_then(|label| label.label()).filter(|says| !what.contains(says)) {
            what = format!("{what}: {says}");
        }
        if let Some(help) = why.help() {
            what = format!("{what} ({help})");
        }
        let fallback = policy.and_then(|policy| Self::of(policy, text, "").place);
        let at = label.map(|label| place(text, label.offset()));
        Self { place: at.or(fallback), policy: policy.map(str::to_owned), what }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.place {
            write!(f, "{line}:{column}: ")?;
        }
        if let Some(policy) = self.policy.as_ref().filter(|policy| !self.what.contains(policy.as_str())) {
            write!(f, "policy `{policy}`: ")?;
        }
        f.write_str(&self.what)
    }
}

fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..text.floor_char_boundary(offset.min(text.len()))).unwrap_or_default();
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
