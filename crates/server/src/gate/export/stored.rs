//! What is kept of a job, sealed: where the upstream has it, what was asked, what is fixed of it, and its files once they are known.

use policy::{ExportJob, Manifest};
use serde::{Deserialize, Serialize};

/// The form of what follows; another form gets another number.
const FORM: u32 = 1;

/// A job as it is kept.
pub(super) struct Stored {
    /// Where the upstream tells how far it is.
    pub(super) place: String,
    /// The client's own kick-off, as it sent it.
    pub(super) request: String,
    /// What is fixed of it.
    pub(super) job: ExportJob,
    /// Its files, once it is complete.
    pub(super) manifest: Option<Manifest>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Form {
    form: u32,
    place: String,
    request: String,
    job: String,
    manifest: Option<String>,
}

impl Stored {
    /// As it is sealed; `None` where it is no text, which nothing of ours is.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
        let manifest = match &self.manifest {
            Some(manifest) => Some(text(manifest.encode())?),
            None => None,
        };
        let (place, request) = (self.place.clone(), self.request.clone());
        let form = Form { form: FORM, place, request, job: text(self.job.encode())?, manifest };
        serde_json::to_vec(&form).ok()
    }

    /// Reads it back; `None` for anything that was never written.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let Form { form, place, request, job, manifest } = serde_json::from_slice(bytes).ok()?;
        if form != FORM {
            return None;
        }
        let manifest = match manifest {
            Some(text) => Some(Manifest::decode(text.as_bytes()).ok()?),
            None => None,
        };
        Some(Self { place, request, job: ExportJob::decode(job.as_bytes()).ok()?, manifest })
    }
}

#[test]
fn a_job_comes_back_as_it_was_kept_or_not_at_all() {
    let job = "export-job 1\nof Group/G1\ntype Patient\nmember P1\nend\n";
    let manifest = "export-manifest 1\ntime 2026-01-02T03:04:05Z\nfile Patient https://ehr/1\nend\n";
    let kept = |form: u32, job: &str, manifest: Option<&str>| {
        serde_json::json!({"form": form, "place": "https://ehr/job", "request": "https://gate/x", "job": job, "manifest": manifest})
            .to_string()
            .into_bytes()
    };
    for manifest in [None, Some(manifest)] {
        let bytes = kept(FORM, job, manifest);
        let read = Stored::decode(&bytes).unwrap();
        let again: serde_json::Value = serde_json::from_slice(&read.encode().unwrap()).unwrap();
        assert_eq!(again, serde_json::from_slice::<serde_json::Value>(&bytes).unwrap());
    }
    for bytes in [kept(2, job, None), kept(FORM, "x", None), kept(FORM, job, Some("x")), b"{}".to_vec(), Vec::new()] {
        assert!(Stored::decode(&bytes).is_none(), "{}", String::from_utf8_lossy(&bytes));
    }
}
