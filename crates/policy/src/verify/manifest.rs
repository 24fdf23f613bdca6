//! The manifest of an export that is complete (Bulk Data Access IG 2.0, "Response - Complete Status"): read strictly, kept with
//! the job, and written anew. Nothing of the upstream's leaves but a time: its addresses are ours to fetch, its counts would
//! tell what is held back, its errors can quote anything.

use std::fmt;

use fhir::ResourceType;
use fhir::json::{Value, quote};

use crate::export::ExportJob;
use crate::permit::UpstreamAnswer;

/// First line of a stored manifest, with the version of its form.
const HEAD: &str = "export-manifest 1";
/// Most files of one job: of forty types some hundred each.
const FILES_MAX: usize = 5_000;
/// Longest address of a file: signed ones of object stores are about 1 KiB.
const URL_BYTES_MAX: usize = 4 * 1024;

/// The files of one job.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manifest {
    time: String,
    files: Vec<ExportFile>,
    left_out: u32,
    errors: u32,
}

/// One of them, where the upstream has it.
#[derive(Clone, Eq, PartialEq)]
pub struct ExportFile {
    /// The type of its resources.
    pub kind: ResourceType,
    /// Its address; it can be a credential.
    pub url: String,
}

impl fmt::Debug for ExportFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExportFile({}, [sealed])", self.kind)
    }
}

/// An answer that is no manifest, or bytes that are no stored one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InvalidManifest;

impl fmt::Display for InvalidManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a manifest of an export")
    }
}

impl std::error::Error for InvalidManifest {}

impl Manifest {
    /// Reads an upstream's answer. Files of types that the job is not for are left out and counted.
    ///
    /// # Errors
    /// [`InvalidManifest`]: nothing of it is to be used.
    pub fn read(answer: &UpstreamAnswer, job: &ExportJob) -> Result<Self, InvalidManifest> {
        if answer.status != 200 {
            return Err(InvalidManifest);
        }
        let document = super::parse(answer).ok_or(InvalidManifest)?;
        let root = document.root();
        // Further parts, or another order than the one asked for: what is here would not be what it seems.
        if !root.is_object() || root.get("link").is_some() || root.get("outputOrganizedBy").is_some() {
            return Err(InvalidManifest);
        }
        let time = root.get_str("transactionTime").filter(|time| is_instant(time)).ok_or(InvalidManifest)?;
        let list = root.get("output").filter(|list| list.is_array()).ok_or(InvalidManifest)?;
        let (mut files, mut left_out) = (Vec::new(), 0_u32);
        for entry in list.elements() {
            let (Some(name), Some(url)) = (entry.get_str("type"), entry.get_str("url")) else {
                return Err(InvalidManifest);
            };
            match name.parse::<ResourceType>() {
                Ok(kind) if job.kinds().contains(&kind) => {
                    if !is_address(&url) || files.len() == FILES_MAX {
                        return Err(InvalidManifest);
                    }
                    files.push(ExportFile { kind, url: url.into_owned() });
                }
                _ => left_out = left_out.saturating_add(1),
            }
        }
        let errors = root.get("error").iter().flat_map(Value::elements).count();
        let errors = u32::try_from(errors).unwrap_or(u32::MAX);
        Ok(Self { time: time.into_owned(), files, left_out, errors })
    }

    /// Its files, by number.
    #[must_use]
    pub fn files(&self) -> &[ExportFile] {
        &self.files
    }

    /// How many files were of types that the job is not for.
    #[must_use]
    pub fn left_out(&self) -> u32 {
        self.left_out
    }

    /// How many files of errors the upstream had.
    #[must_use]
    pub fn errors(&self) -> u32 {
        self.errors
    }

    /// The manifest as the client gets it: `request` is its own kick-off, `address` says where each file is here.
    #[must_use]
    pub fn public(&self, request: &str, address: &dyn Fn(usize) -> String) -> Vec<u8> {
        let files: Vec<String> = self
            .files
            .iter()
            .enumerate()
            .map(|(number, file)| {
                format!(r#"{{"type":{},"url":{}}}"#, quote(file.kind.name()), quote(&address(number)))
            })
            .collect();
        format!(
            r#"{{"transactionTime":{},"request":{},"requiresAccessToken":true,"output":[{}],"error":[]}}"#,
            quote(&self.time),
            quote(request),
            files.join(",")
        )
        .into_bytes()
    }

    /// As it is stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = format!("{HEAD}\ntime {}\n", self.time);
        for file in &self.files {
            out.push_str(&format!("file {} {}\n", file.kind, file.url));
        }
        out.push_str("end\n");
        out.into_bytes()
    }

    /// Reads a stored manifest.
    ///
    /// # Errors
    /// [`InvalidManifest`]: it is not whole, or not in a form that was ever written.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidManifest> {
        let text = std::str::from_utf8(bytes).map_err(|_| InvalidManifest)?;
        let text = text.strip_suffix("end\n").ok_or(InvalidManifest)?;
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(InvalidManifest);
        }
        let time = lines.next().and_then(|line| line.strip_prefix("time ")).filter(|time| is_instant(time));
        let time = time.ok_or(InvalidManifest)?.to_owned();
        let mut files = Vec::new();
        for line in lines {
            let file = line.strip_prefix("file ").and_then(|rest| rest.split_once(' ')).ok_or(InvalidManifest)?;
            let kind = file.0.parse().map_err(|_| InvalidManifest)?;
            if !is_address(file.1) {
                return Err(InvalidManifest);
            }
            files.push(ExportFile { kind, url: file.1.to_owned() });
        }
        Ok(Self { time, files, left_out: 0, errors: 0 })
    }
}

/// An absolute address in printable ASCII. Whether anybody goes there is the connection's to judge.
fn is_address(url: &str) -> bool {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    url.len() <= URL_BYTES_MAX
        && host.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#' | b'"' | b'<' | b'>'))
}

/// An instant by its letters (R4 `instant`): free text has no place in a manifest.
fn is_instant(text: &str) -> bool {
    (20..=40).contains(&text.len())
        && text.bytes().take(4).all(|byte| byte.is_ascii_digit())
        && text.as_bytes().get(10) == Some(&b'T')
        && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b':' | b'.' | b'T' | b'Z' | b'+'))
}
