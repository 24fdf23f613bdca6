//! Writing a search back: one order, one spelling, every value escaped and encoded.

use std::fmt::Write as _;

use super::{Include, Modifier, Search, Summary, Total};

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
        self.includes.iter().for_each(|include| query.push("_include", &include.to_string()));
        self.revincludes.iter().for_each(|include| query.push("_revinclude", &include.to_string()));
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
        if let Some(elements) = &self.view.elements {
            query.push("_elements", &elements.join(","));
        }
        if let Some(summary) = self.view.summary {
            query.push("_summary", summary.as_str());
        }
        if self.view.pretty {
            query.push("_pretty", "true");
        }
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
