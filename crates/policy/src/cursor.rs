//! Page cursors: what a sealed `next` link says. The caller seals and opens them; here is their content and encoding.

use domain::{Millis, SessionId};
use fhir::request::{Include, Summary, View};
use fhir::{Id, ResourceType};

/// First byte of every encoded cursor; golden files hold every version ever written.
const VERSION: u8 = 4;
/// Longest encoded cursor: the scope text (16 KiB) and an upstream link (8 KiB) with room for the view and what follows.
const ENCODED_MAX: usize = 32 * 1024;
/// Longest life of a page link: the life of the longest session is bound apart, by the token.
pub(crate) const LIFE_MILLIS: Millis = 15 * 60 * 1000;
/// The page that the first link leads to.
const NUMBER_MIN: u32 = 2;
/// Most texts in one list of a cursor.
const TEXTS_MAX: u32 = 64;

/// What the pages are of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Pages {
    /// A search.
    Search {
        /// What it includes.
        includes: Vec<Include>,
        /// What it includes by references to its results.
        revincludes: Vec<Include>,
        /// Which of the scope's slices it is in, where each is asked for by a search of its own.
        slice: Option<u16>,
        /// The queries of the slices that follow.
        rest: Vec<String>,
    },
    /// The history of this instance.
    History(Id),
    /// Everything of the session's patient.
    Everything,
}

/// Where on an upstream's page a page begins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Start {
    /// How many matches come before it that were released.
    pub(crate) offset: u32,
    /// Which match it is: it counts more than its place, since the upstream's page may have changed.
    pub(crate) name: String,
}

/// Where the next page lies upstream, and whom the link belongs to.
#[derive(Clone, Eq, PartialEq)]
pub struct PageCursor {
    pub(crate) session: SessionId,
    /// The scope text itself stands for its digest: equal text, equal rights.
    pub(crate) scope: String,
    pub(crate) kind: ResourceType,
    pub(crate) path: String,
    pub(crate) query: String,
    /// Whether it is asked for by a form.
    pub(crate) form: bool,
    /// Which page of the answer it is; the first, which has no cursor, is 1.
    pub(crate) number: u32,
    /// How many matches a page has.
    pub(crate) size: Option<u32>,
    /// Where the page begins; none of a version that knew whole pages only.
    pub(crate) start: Option<Start>,
    pub(crate) view: View,
    pub(crate) narrowed_by: Option<&'static str>,
    pub(crate) pages: Pages,
    pub(crate) expires_at: Millis,
}

/// Bytes that are no cursor of this version.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a page cursor")]
pub struct InvalidCursor;

/// Names a patient in its query: debug output shows none of it.
impl std::fmt::Debug for PageCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PageCursor([sealed])")
    }
}

impl PageCursor {
    /// The type whose pages it walks.
    #[must_use]
    pub fn kind(&self) -> ResourceType {
        self.kind
    }

    /// Which page of the answer it leads to: 2 and up.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The name of the interaction whose pages it walks.
    #[must_use]
    pub fn interaction_name(&self) -> &'static str {
        match self.pages {
            Pages::Search { .. } => "search",
            Pages::History(_) => "history",
            Pages::Everything => "everything",
        }
    }

    /// When it stops working.
    #[must_use]
    pub fn expires_at(&self) -> Millis {
        self.expires_at
    }

    /// Its bytes, to be sealed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(self.session.0);
        out.extend(self.expires_at.to_be_bytes());
        let (kind, slice) = match &self.pages {
            Pages::Search { slice, .. } => (0, *slice),
            Pages::History(_) => (1, None),
            Pages::Everything => (2, None),
        };
        out.extend([kind, u8::from(self.view.pretty), summary_code(self.view.summary)]);
        out.extend(slice.unwrap_or(NO_SLICE).to_be_bytes());
        let elements = self.view.elements.as_ref().map(|names| names.join(","));
        for text in [
            self.kind.name(),
            &self.scope,
            &self.path,
            &self.query,
            self.narrowed_by.unwrap_or(""),
            elements.as_deref().unwrap_or(""),
        ] {
            put_text(&mut out, text);
        }
        match &self.pages {
            Pages::Search { includes, revincludes, rest, .. } => {
                put_texts(&mut out, includes.iter().map(include_text));
                put_texts(&mut out, revincludes.iter().map(include_text));
                put_texts(&mut out, rest.iter().cloned());
            }
            Pages::History(id) => put_text(&mut out, id.as_str()),
            Pages::Everything => {}
        }
        out.extend(self.size.unwrap_or(0).to_be_bytes());
        out.extend([u8::from(self.form), u8::from(self.start.is_some())]);
        if let Some(start) = &self.start {
            out.extend(start.offset.to_be_bytes());
            put_text(&mut out, &start.name);
        }
        out.extend(self.number.to_be_bytes());
        out
    }

    /// Reads the bytes of an opened seal.
    ///
    /// # Errors
    /// They are no cursor of a version known here.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidCursor> {
        if bytes.len() > ENCODED_MAX {
            return Err(InvalidCursor);
        }
        let mut reader = Reader(bytes);
        let [version] = reader.array()?;
        let session = SessionId(reader.array()?);
        let expires_at = Millis::from_be_bytes(reader.array()?);
        let (pages_of, pretty, summary, slice) = match version {
            // Version 1 said only whether there were includes: without knowing which, none of them is let through.
            1 => {
                let [flags, summary] = reader.array()?;
                if flags > 3 {
                    return Err(InvalidCursor);
                }
                (0, flags & 2 != 0, summary, NO_SLICE)
            }
            2 | 3 | VERSION => {
                let [pages_of, pretty, summary] = reader.array()?;
                if pretty > 1 {
                    return Err(InvalidCursor);
                }
                (pages_of, pretty == 1, summary, u16::from_be_bytes(reader.array()?))
            }
            _ => return Err(InvalidCursor),
        };
        let summary = match summary {
            0 => None,
            1 => Some(Summary::True),
            2 => Some(Summary::Text),
            3 => Some(Summary::Data),
            4 => Some(Summary::False),
            _ => return Err(InvalidCursor),
        };
        let kind: ResourceType = reader.text()?.parse().map_err(|_| InvalidCursor)?;
        let scope = reader.text()?.to_owned();
        let path = reader.text()?.to_owned();
        let query = reader.text()?.to_owned();
        let narrowed_by = match reader.text()? {
            "" => None,
            name => Some(fhir::params::find(kind, name).ok_or(InvalidCursor)?.name),
        };
        let elements = match reader.text()? {
            "" => None,
            names => Some(names.split(',').map(str::to_owned).collect()),
        };
        let slice = Some(slice).filter(|slice| *slice != NO_SLICE);
        let pages = match (version, pages_of) {
            (1, _) => Pages::Search { includes: Vec::new(), revincludes: Vec::new(), slice, rest: Vec::new() },
            (_, 0) => Pages::Search {
                includes: reader.includes()?,
                revincludes: reader.includes()?,
                slice,
                rest: reader.texts()?,
            },
            (_, 1) => Pages::History(reader.text()?.parse().map_err(|_| InvalidCursor)?),
            (_, 2) => Pages::Everything,
            _ => return Err(InvalidCursor),
        };
        let (mut form, mut size, mut start) = (false, None, None);
        if version >= 3 {
            size = Some(u32::from_be_bytes(reader.array()?)).filter(|size| *size > 0);
            let [by_form, starts] = reader.array()?;
            if by_form > 1 || starts > 1 {
                return Err(InvalidCursor);
            }
            form = by_form == 1;
            if starts == 1 {
                start = Some(Start { offset: u32::from_be_bytes(reader.array()?), name: reader.text()?.to_owned() });
            }
        }
        // Earlier versions did not count: what they lead to is a second page at least.
        let number = if version == VERSION { u32::from_be_bytes(reader.array()?) } else { NUMBER_MIN };
        if number < NUMBER_MIN || !reader.0.is_empty() {
            return Err(InvalidCursor);
        }
        let view = View { elements, summary, pretty };
        Ok(Self { session, scope, kind, path, query, form, number, size, start, view, narrowed_by, pages, expires_at })
    }
}

/// Stands for no slice.
const NO_SLICE: u16 = u16::MAX;

fn summary_code(summary: Option<Summary>) -> u8 {
    match summary {
        None => 0,
        Some(Summary::True) => 1,
        Some(Summary::Text) => 2,
        Some(Summary::Data) => 3,
        Some(Summary::False) => 4,
    }
}

fn include_text(include: &Include) -> String {
    format!("{include}{}", if include.iterate { "*" } else { "" })
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(text.as_bytes());
}

fn put_texts(out: &mut Vec<u8>, texts: impl ExactSizeIterator<Item = String>) {
    out.extend(u32::try_from(texts.len()).unwrap_or(u32::MAX).to_be_bytes());
    texts.for_each(|text| put_text(out, &text));
}

/// Reads what `encode` wrote.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], InvalidCursor> {
        let (head, rest) = self.0.split_first_chunk().ok_or(InvalidCursor)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, InvalidCursor> {
        let length = u32::from_be_bytes(self.array()?) as usize;
        let (head, rest) = self.0.split_at_checked(length).ok_or(InvalidCursor)?;
        self.0 = rest;
        std::str::from_utf8(head).map_err(|_| InvalidCursor)
    }

    fn texts(&mut self) -> Result<Vec<String>, InvalidCursor> {
        let count = u32::from_be_bytes(self.array()?);
        if count > TEXTS_MAX {
            return Err(InvalidCursor);
        }
        (0..count).map(|_| self.text().map(str::to_owned)).collect()
    }

    fn includes(&mut self) -> Result<Vec<Include>, InvalidCursor> {
        let read = |text: String| {
            let (text, iterate) = text.strip_suffix('*').map_or((text.as_str(), false), |text| (text, true));
            let include: Include = text.parse().map_err(|_| InvalidCursor)?;
            Ok(Include { iterate, ..include })
        };
        self.texts()?.into_iter().map(read).collect()
    }
}

/// Every version ever written stays readable, or is refused as a whole.
#[test]
fn every_version_reads_as_it_was_written() {
    let view =
        View { elements: Some(vec!["code".into(), "status".into()]), summary: Some(Summary::Data), pretty: true };
    let cursor = PageCursor {
        session: SessionId([9; 16]),
        scope: "patient/Observation.rs".into(),
        kind: ResourceType::OBSERVATION,
        path: "Observation".into(),
        query: "_getpages=7".into(),
        form: false,
        number: 2,
        size: None,
        start: None,
        view,
        narrowed_by: Some("patient"),
        pages: Pages::Search { includes: Vec::new(), revincludes: Vec::new(), slice: None, rest: Vec::new() },
        expires_at: 1_800_000_000_000,
    };
    let bytes = |hex: &str| -> Vec<u8> {
        let digits = hex.trim();
        (0..digits.len() / 2)
            .map(|at| u8::from_str_radix(digits.get(at * 2..at * 2 + 2).unwrap(), 16).unwrap())
            .collect()
    };
    let first = bytes(include_str!("../tests/golden/page-cursor-1.hex"));
    assert!(PageCursor::decode(&first).is_ok_and(|again| again == cursor), "without its includes");
    let pages = Pages::Search {
        includes: vec!["Observation:subject:Patient".parse().unwrap()],
        revincludes: vec![Include { iterate: true, ..("Provenance:target".parse().unwrap()) }],
        slice: Some(1),
        rest: vec!["status=final".into()],
    };
    let second = PageCursor { pages, ..cursor.clone() };
    let written = bytes(include_str!("../tests/golden/page-cursor-2.hex"));
    assert!(PageCursor::decode(&written).is_ok_and(|again| again == second), "without its size");
    let start = Some(Start { offset: 3, name: "Observation/O4".into() });
    let third = PageCursor { form: true, size: Some(20), start, ..second };
    let written = bytes(include_str!("../tests/golden/page-cursor-3.hex"));
    assert!(PageCursor::decode(&written).is_ok_and(|again| again == third), "without its number");
    let fourth = PageCursor { number: 7, ..third.clone() };
    let hex: String = fourth.encode().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("../tests/golden/page-cursor-4.hex").trim());
    let first = PageCursor { number: 1, ..third.clone() };
    assert!(PageCursor::decode(&first.encode()).is_err(), "no link leads to a first page");
    for pages in [third.pages.clone(), Pages::History("O1".parse().unwrap()), Pages::Everything] {
        let cursor = PageCursor { pages, ..cursor.clone() };
        assert!(PageCursor::decode(&cursor.encode()).is_ok_and(|again| again == cursor));
    }
}
