//! Writing a search back: one order, one spelling, every value escaped and encoded.

use std::fmt::Write as _;

use super::{Everything, History, Include, Modifier, Search, Summary, Total, View};

impl Search {
    /// The query that means exactly this search, without [`Search::inference`]: such a search has no query.
    #[must_use]
    pub fn canonical_query(&self) -> String {
        let mut query = Query(String::new());
        for param in &self.params {
            let key = match param.modifier {
                Some(modifier) => format!("{}:{}", param.name, modifier.as_str()),
                None => param.name.to_owned(),
            };
            query.push(&key, &list(&param.values));
        }
        let key = |name: &str, include: &Include| format!("{name}{}", if include.iterate { ":iterate" } else { "" });
        self.includes.iter().for_each(|include| query.push(&key("_include", include), &include.to_string()));
        self.revincludes.iter().for_each(|include| query.push(&key("_revinclude", include), &include.to_string()));
        if !self.sort.is_empty() {
            let keys: Vec<String> =
                self.sort.iter().map(|(name, down)| format!("{}{name}", if *down { "-" } else { "" })).collect();
            query.push("_sort", &keys.join(","));
        }
        if let Some(count) = self.count {
            query.push("_count", &count.to_string());
        }
        if let Some(total) = self.total {
            query.push("_total", total.as_str());
        }
        query.view(&self.view);
        query.0
    }

    /// The same with the chains and reverse chains that were answered by searches of their own: for the self link.
    #[must_use]
    pub fn shown_query(&self) -> String {
        let mut query = Query(self.canonical_query());
        self.inference.iter().for_each(|inference| query.push(&inference.param, &inference.value));
        query.0
    }
}

impl History {
    /// The query that asks an upstream for it; the view is applied here.
    #[must_use]
    pub fn canonical_query(&self) -> String {
        let mut query = Query(String::new());
        query.optional("_count", self.count.map(|count| count.to_string()).as_deref());
        query.optional("_since", self.since.as_deref());
        query.0
    }
}

impl Everything {
    /// The query that asks an upstream for it; the view is applied here.
    #[must_use]
    pub fn canonical_query(&self) -> String {
        let mut query = Query(String::new());
        query.optional("start", self.start.as_deref());
        query.optional("end", self.end.as_deref());
        query.optional("_since", self.since.as_deref());
        if !self.kinds.is_empty() {
            query.push("_type", &self.kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(","));
        }
        query.optional("_count", self.count.map(|count| count.to_string()).as_deref());
        query.0
    }
}

impl View {
    /// Appends what it shows to a query, for a self link.
    #[must_use]
    pub fn appended_to(&self, query: String) -> String {
        let mut query = Query(query);
        query.view(self);
        query.0
    }
}

impl Modifier {
    /// As written after the colon.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Contains => "contains",
            Self::Not => "not",
            Self::Missing => "missing",
            Self::Type(kind) => kind.name(),
        }
    }
}

impl Summary {
    /// As written in a query.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::Text => "text",
            Self::Data => "data",
            Self::False => "false",
        }
    }
}

impl Total {
    /// As written in a query.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Estimate => "estimate",
            Self::Accurate => "accurate",
        }
    }
}

impl std::fmt::Display for Include {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.source, self.param)?;
        self.target.map_or(Ok(()), |target| write!(f, ":{target}"))
    }
}

fn list(values: &[String]) -> String {
    let escaped: Vec<String> = values.iter().map(|value| value.replace('\\', "\\\\").replace(',', "\\,")).collect();
    escaped.join(",")
}

struct Query(String);

impl Query {
    fn optional(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.push(key, value);
        }
    }

    fn view(&mut self, view: &View) {
        self.optional("_elements", view.elements.as_ref().map(|names| names.join(",")).as_deref());
        self.optional("_summary", view.summary.map(Summary::as_str));
        if view.pretty {
            self.push("_pretty", "true");
        }
    }

    fn push(&mut self, key: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.encode(key);
        self.0.push('=');
        self.encode(value);
    }

    /// Everything that is not unreserved (RFC 3986 §2.3), a colon, a slash or a comma is encoded.
    fn encode(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' | b',' => {
                    self.0.push(char::from(byte));
                }
                _ => {
                    let _written = write!(self.0, "%{byte:02X}");
                }
            }
        }
    }
}
