//! The parameters of an OAuth request: each at most once, an empty one as good as absent (RFC 6749 §3.1, §3.2).

use crate::requests::Seen;
use crate::search;

/// Parameters, read.
pub(super) struct Form {
    pairs: Vec<(String, String)>,
}

impl Form {
    /// Those of a query.
    pub(super) fn query(seen: &Seen) -> Self {
        Self { pairs: search::pairs(&seen.query) }
    }

    /// Those of a body, when it is a form (RFC 6749 §3.2).
    pub(super) fn body(seen: &Seen) -> Option<Self> {
        let kind = seen.header("content-type")?.split(';').next().unwrap_or("").trim();
        let is_form = kind.eq_ignore_ascii_case("application/x-www-form-urlencoded");
        is_form.then(|| Self { pairs: search::pairs(&seen.body) })
    }

    /// A parameter that is there and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(own, value)| own == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// A parameter, or what to say without it.
    pub(super) fn need(&self, name: &str) -> Result<&str, String> {
        self.get(name).ok_or_else(|| format!("`{name}` is missing"))
    }

    /// The name of a parameter that comes more than once.
    pub(super) fn repeated(&self) -> Option<&str> {
        let later = self.pairs.iter().enumerate();
        later
            .filter(|(index, (name, _))| self.pairs.iter().take(*index).any(|(own, _)| own == name))
            .map(|(_, (name, _))| name.as_str())
            .next()
    }
}
