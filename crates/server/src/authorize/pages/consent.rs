//! The page on which a person decides what an application may have (SC-17, US-02, US-03, US-04).

use std::collections::BTreeSet;

use askama::Template;
use domain::Level;
use http::StatusCode;
use oauth::choice::Choice;
use oauth::words;

use super::headers::STYLE;
use super::{Csrf, Page, PickerRow, Place, Shown, page};

/// How long the access is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kept {
    /// For this session only.
    Session,
    /// While the person is signed in (`online_access`).
    Online,
    /// Also when they are not there (`offline_access`, US-02).
    Offline,
}

/// Why the page is shown again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConsentProblem {
    /// Allowed, but nothing was ticked.
    Nothing,
}

/// Who asks for what, and the rows to un-tick.
#[derive(Clone, Debug, Template)]
#[template(path = "consent.html")]
pub struct Consent {
    /// Whose page, and where its form may lead.
    pub place: Place,
    /// Where the form is sent.
    pub action: String,
    /// Names the interaction.
    pub request: String,
    /// Proves the form is ours.
    pub csrf: Csrf,
    /// The application's name.
    pub app: Shown,
    /// Who makes it.
    pub vendor: Shown,
    /// What it is for, as registered.
    pub purpose: Shown,
    /// What its task is for; empty when there is none.
    pub task: Shown,
    /// HL7 v3 PurposeOfUse code.
    pub purpose_of_use: String,
    /// Who is signed in.
    pub person: Shown,
    /// Whose record; `None` for an application without one patient.
    pub patient: Option<PickerRow>,
    /// Where the browser goes afterwards: the host of the redirect URI, or the app itself.
    pub returns_to: Shown,
    /// The rows, from `oauth::choice::choices`.
    pub choices: Vec<Choice>,
    /// What is ticked; `None` is everything, as when the page is first shown.
    pub ticked: Option<BTreeSet<String>>,
    /// What comes along and cannot be un-ticked, in words (`oauth::words::item`).
    pub always: Vec<String>,
    /// How long it lasts.
    pub kept: Kept,
    /// Why it is shown again.
    pub problem: Option<ConsentProblem>,
}

/// The rows of one level, under a heading.
pub struct Section<'a> {
    heading: &'static str,
    rows: Vec<Row<'a>>,
}

/// A type and the categories below it.
struct Row<'a> {
    tick: Tick<'a>,
    below: Vec<Tick<'a>>,
}

/// One checkbox.
struct Tick<'a> {
    /// Unique on the page, for labels and descriptions.
    at: usize,
    choice: &'a Choice,
    on: bool,
}

impl Consent {
    /// The page; 422 when it says what is wrong with the answer.
    #[must_use]
    pub fn render(&self) -> Page {
        let status = if self.problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
        page(self, &self.place, status)
    }

    fn style(&self) -> &'static str {
        STYLE
    }

    fn use_in_words(&self) -> Shown {
        Shown::new(words::purpose_of_use(&self.purpose_of_use))
    }

    fn lasts(&self) -> &'static str {
        match self.kept {
            Kept::Session => "Its access ends with this session",
            Kept::Online => words::ONLINE,
            Kept::Offline => words::OFFLINE,
        }
    }

    fn writes(&self) -> bool {
        self.choices.iter().any(|choice| choice.writes)
    }

    fn sections(&self) -> Vec<Section<'_>> {
        let mut out: Vec<(Level, Section<'_>)> = Vec::new();
        for (at, choice) in self.choices.iter().enumerate() {
            let on = self.ticked.as_ref().is_none_or(|ticked| ticked.contains(&choice.id));
            let tick = Tick { at, choice, on };
            if out.last().is_none_or(|(level, _)| *level != choice.level) {
                out.push((choice.level, Section { heading: heading(choice.level), rows: Vec::new() }));
            }
            let Some((_, section)) = out.last_mut() else { continue };
            match section.rows.iter_mut().find(|row| choice.parent.as_ref() == Some(&row.tick.choice.id)) {
                Some(row) => row.below.push(tick),
                None => section.rows.push(Row { tick, below: Vec::new() }),
            }
        }
        out.into_iter().map(|(_, section)| section).collect()
    }
}

fn heading(level: Level) -> &'static str {
    match level {
        Level::Patient => "Information about this patient",
        Level::User => "Information about every patient you may see",
        Level::System => "Information about every patient of the hospital",
    }
}
