//! Page cursors: what a sealed `next` link says. The caller seals and opens them; here is their content and encoding.

use domain::{Millis, SessionId};
use fhir::ResourceType;
use fhir::request::{Summary, View};

/// First byte of every encoded cursor; golden files hold every version ever written.
const VERSION: u8 = 1;
/// Longest encoded cursor: the scope text (16 KiB) and an upstream link (8 KiB) with room for the view.
const ENCODED_MAX: usize = 32 * 1024;
/// Longest life of a page link: the life of the longest session is bound apart, by the token.
pub(crate) const LIFE_MILLIS: Millis = 15 * 60 * 1000;

/// Where the next page lies upstream, and whom the link belongs to.
#[derive(Clone, Eq, PartialEq)]
pub struct PageCursor {
    pub(crate) session: SessionId,
    /// The scope text itself stands for its digest: equal text, equal rights.
    pub(crate) scope: String,
    pub(crate) kind: ResourceType,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) view: View,
    pub(crate) narrowed_by: Option<&'static str>,
    pub(crate) includes: bool,
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
        let flags = u8::from(self.includes) | u8::from(self.view.pretty) << 1;
        out.push(flags);
        out.push(match self.view.summary {
            None => 0,
            Some(Summary::True) => 1,
            Some(Summary::Text) => 2,
            Some(Summary::Data) => 3,
            Some(Summary::False) => 4,
        });
        let elements = self.view.elements.as_ref().map(|names| names.join(","));
        for text in [
            self.kind.name(),
            &self.scope,
            &self.path,
            &self.query,
            self.narrowed_by.unwrap_or(""),
            elements.as_deref().unwrap_or(""),
        ] {
            out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend(text.as_bytes());
        }
        out
    }

    /// Reads the bytes of an opened seal.
    ///
    /// # Errors
    /// They are no cursor of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidCursor> {
        if bytes.len() > ENCODED_MAX {
            return Err(InvalidCursor);
        }
        let mut reader = Reader(bytes);
        if reader.array()? != [VERSION] {
            return Err(InvalidCursor);
        }
        let session = SessionId(reader.array()?);
        let expires_at = Millis::from_be_bytes(reader.array()?);
        let [flags, summary] = reader.array()?;
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
        if !reader.0.is_empty() || flags > 3 {
            return Err(InvalidCursor);
        }
        let view = View { elements, summary, pretty: flags & 2 != 0 };
        Ok(Self { session, scope, kind, path, query, view, narrowed_by, includes: flags & 1 != 0, expires_at })
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], InvalidCursor> {
        let (head, rest) = self.0.split_first_chunk().ok_or(InvalidCursor)?;
        self.0 = rest;
        Ok(*head)
    }

    fn text(&mut self) -> Result<&'a str, InvalidCursor> {
        let length = u32::from_be_bytes(self.array()?) as usize;
        let (head, rest) = self.0.split_at_checked(length).ok_or(InvalidCursor)?;
        self.0 = rest;
        std::str::from_utf8(head).map_err(|_| InvalidCursor)
    }
}

/// Every version ever written stays readable, or is refused as a whole.
#[test]
fn version_1_reads_and_writes_as_it_did() {
    let cursor = PageCursor {
        session: SessionId([9; 16]),
        scope: "patient/Observation.rs".into(),
        kind: ResourceType::OBSERVATION,
        path: "Observation".into(),
        query: "_getpages=7".into(),
        view: View { elements: Some(vec!["code".into(), "status".into()]), summary: Some(Summary::Data), pretty: true },
        narrowed_by: Some("patient"),
        includes: true,
        expires_at: 1_800_000_000_000,
    };
    let hex: String = cursor.encode().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("../tests/golden/page-cursor-1.hex").trim());
    assert!(PageCursor::decode(&cursor.encode()).is_ok_and(|again| again == cursor));
}
