//! A row: one requirement as something to send and something to expect; and what was found.

use std::future::Future;
use std::pin::Pin;

use serde::Serialize;

use crate::areas::shown::Shown;
use crate::http::Answer;
use crate::suite::Suite;

/// What a row's check runs as.
pub type Running<'a> = Pin<Box<dyn Future<Output = Checked> + Send + 'a>>;

/// A row's check: it notes its cases, and stops where it cannot go on.
pub type Check = for<'a> fn(&'a Suite, &'a mut Cases) -> Running<'a>;

/// How a check ends.
pub type Checked = Result<(), Stop>;

/// Why a check cannot go on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Stop {
    /// Something is missing that is not the server's fault.
    Skip(String),
    /// The server did not do what the row stands on.
    Fail(String),
}

/// An error of the suite's own tools (no answer, no connection) counts against the server.
impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Fail(why)
    }
}

/// One requirement.
pub struct Row {
    /// Its id, e.g. `NEG-020`.
    pub id: &'static str,
    /// The clause it stands on.
    pub clause: &'static str,
    /// What is sent.
    pub sends: &'static str,
    /// What is expected.
    pub expects: &'static str,
    /// How.
    pub check: Check,
}

/// Outcome of a case or a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As expected.
    Passed,
    /// Not as expected.
    Failed,
    /// Not tried.
    Skipped,
}

impl Status {
    /// As in a table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        }
    }
}

/// One thing that was tried.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Case {
    /// What.
    pub name: String,
    /// How it went.
    pub status: Status,
    /// What was seen, or why it was skipped.
    pub saw: String,
}

/// The cases of one row.
#[derive(Clone, Debug, Default)]
pub struct Cases(Vec<Case>);

impl Cases {
    /// Notes a case that must hold; `saw` stands in the finding when it does not.
    pub fn expect(&mut self, name: impl Into<String>, held: bool, saw: impl Into<String>) {
        let status = if held { Status::Passed } else { Status::Failed };
        self.0.push(Case { name: name.into(), status, saw: saw.into() });
    }

    /// Notes a case that was not tried.
    pub fn skip(&mut self, name: impl Into<String>, why: impl Into<String>) {
        self.0.push(Case { name: name.into(), status: Status::Skipped, saw: why.into() });
    }

    /// Notes how a case that may stop by itself ended; only its `Ok` counts as held.
    pub fn ended(&mut self, name: &str, how: Checked) {
        match how {
            Ok(()) => self.expect(name, true, ""),
            Err(Stop::Fail(why)) => self.expect(name, false, why),
            Err(Stop::Skip(why)) => self.skip(name, why),
        }
    }

    /// Notes a refusal by RFC 6749 §5.2: one of the statuses, one of the errors, JSON, and no token.
    pub fn refused(&mut self, name: impl Into<String>, answer: &Answer, statuses: &[u16], errors: &[&str]) {
        let error = answer.error();
        let held = statuses.contains(&answer.status) && errors.contains(&error.as_str()) && !answer.has_token();
        self.expect(name, held, format!("{}; expected {} {}", answer.shown(), list(statuses), errors.join(" or ")));
    }

    /// Notes an answer that must have one of these statuses.
    pub fn status(&mut self, name: impl Into<String>, answer: &Answer, statuses: &[u16]) {
        let held = statuses.contains(&answer.status);
        self.expect(name, held, format!("{}; expected {}", answer.shown(), list(statuses)));
    }
}

fn list(statuses: &[u16]) -> String {
    statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(" or ")
}

/// What was found about one row.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The row.
    pub id: &'static str,
    /// Its area.
    pub area: &'static str,
    /// Its clause.
    pub clause: &'static str,
    /// What was sent.
    pub sends: &'static str,
    /// What was expected.
    pub expects: &'static str,
    /// The worst of its cases: one failed case fails the row.
    pub status: Status,
    /// What failed, or why it was skipped; empty when all passed.
    pub detail: String,
    /// Every case.
    pub cases: Vec<Case>,
}

impl Finding {
    /// What rows of other names say of a requirement: each of them is a case.
    #[must_use]
    pub fn shown(shown: &Shown, findings: &[Self]) -> Self {
        let Shown { id, clause, expects, by } = *shown;
        let row =
            Row { id, clause, sends: "see the rows that show it", expects, check: |_, _| Box::pin(async { Ok(()) }) };
        let of = findings.iter().filter(|finding| by.contains(&finding.id));
        let cases = of.map(|finding| {
            let saw = if finding.status == Status::Passed {
                String::new()
            } else {
                format!("{} there", finding.status.as_str())
            };
            Case { name: finding.id.to_owned(), status: finding.status, saw }
        });
        Self::new("shown by others", &row, Cases(cases.collect()), Ok(()))
    }

    /// Puts a row's cases and its end together.
    #[must_use]
    pub fn new(area: &'static str, row: &Row, cases: Cases, ended: Checked) -> Self {
        let mut cases = cases.0;
        let case = |status, saw| Case { name: "row".into(), status, saw };
        match ended {
            Ok(()) => {}
            Err(Stop::Skip(why)) => cases.push(case(Status::Skipped, why)),
            Err(Stop::Fail(why)) => cases.push(case(Status::Failed, why)),
        }
        // A check that tried nothing has shown nothing.
        if cases.is_empty() {
            cases.push(case(Status::Failed, "the check tried nothing".into()));
        }
        let any = |status| cases.iter().any(|case| case.status == status);
        let status = match (any(Status::Failed), any(Status::Passed)) {
            (true, _) => Status::Failed,
            (false, true) => Status::Passed,
            (false, false) => Status::Skipped,
        };
        let told = cases.iter().filter(|case| case.status != Status::Passed).map(|case| {
            let skipped = if case.status == Status::Skipped && status != Status::Skipped { "skipped: " } else { "" };
            if case.name == "row" {
                format!("{skipped}{}", case.saw)
            } else {
                format!("{skipped}{}: {}", case.name, case.saw)
            }
        });
        let detail = told.collect::<Vec<_>>().join("\n");
        let Row { id, clause, sends, expects, .. } = *row;
        Self { id, area, clause, sends, expects, status, detail, cases }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(fill: impl FnOnce(&mut Cases), ended: Checked) -> Finding {
        let row = Row { id: "X-01", clause: "c", sends: "s", expects: "e", check: |_, _| Box::pin(async { Ok(()) }) };
        let mut cases = Cases::default();
        fill(&mut cases);
        Finding::new("area", &row, cases, ended)
    }

    #[test]
    fn the_worst_case_decides_and_nothing_tried_is_no_pass() {
        assert_eq!(found(|_| {}, Ok(())).status, Status::Failed);
        assert_eq!(found(|_| {}, Err(Stop::Skip("no client".into()))).status, Status::Skipped);
        let mixed = found(
            |cases| {
                cases.expect("a", true, "");
                cases.skip("b", "no key");
            },
            Ok(()),
        );
        assert_eq!((mixed.status, mixed.detail.as_str()), (Status::Passed, "skipped: b: no key"));
        let failed = found(|cases| cases.expect("a", true, ""), Err(Stop::Fail("no answer".into())));
        assert_eq!((failed.status, failed.detail.as_str()), (Status::Failed, "no answer"));
    }

    #[test]
    fn a_refusal_that_carries_a_token_is_none() {
        let answer = |body: &str| Answer { status: 400, headers: http::HeaderMap::new(), body: body.into() };
        for (body, held) in [
            (r#"{"error":"invalid_grant"}"#, Status::Passed),
            (r#"{"error":"invalid_grant","access_token":"x"}"#, Status::Failed),
            (r#"{"error":"invalid_request"}"#, Status::Failed),
            ("invalid_grant", Status::Failed),
        ] {
            let finding = found(|cases| cases.refused("a", &answer(body), &[400], &["invalid_grant"]), Ok(()));
            assert_eq!(finding.status, held, "{body}");
        }
    }
}
