//! Bulk exports at an upstream: the kick-off whose intent is on record, the state of its job, and its files as they come.
//!
//! Where an upstream keeps jobs and files is its own to say. Our credential goes to the origin of its FHIR base alone; whatever
//! lies elsewhere is asked for without one, by the same vetted way out (Bulk Data IG 2.0, "Security Considerations").

use std::time::Instant;

use bytes::Bytes;
use domain::TenantId;
use http::header::{ACCEPT, CONTENT_LOCATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use policy::{Authority, ExportJob, ExportPermit, ExportPlan, UpstreamAnswer};

use super::Broker;
use super::backend::{HEADER, NoToken};
use super::upstream::{Credential, Upstream, header_text};
use crate::audit::Intended;
use crate::outbound::{FetchError, Limits, Received, Streamed};

const PREFER: HeaderName = HeaderName::from_static("prefer");
const RESPOND_ASYNC: HeaderValue = HeaderValue::from_static("respond-async");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json");
const NDJSON: HeaderValue = HeaderValue::from_static("application/fhir+ndjson");

/// Largest manifest or error read.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What an upstream made of a kick-off.
#[derive(Debug)]
pub enum Begun {
    /// It is at work; where it tells how far it is.
    At(String),
    /// It is not; the status to answer with, 502, 503 or 504.
    Not(u16),
}

/// How far a job is.
#[derive(Debug)]
pub enum ExportStatus {
    /// Under way; when to ask again, in seconds, if the upstream says.
    Pending(Option<u32>),
    /// Done: the manifest, unread.
    Done(UpstreamAnswer),
    /// There is no such job any more.
    Gone,
    /// It failed, or cannot be asked: 502, 503 or 504.
    Failed(u16),
}

/// A file on its way.
#[derive(Debug)]
pub struct ExportFileBody(Streamed);

impl ExportFileBody {
    /// The next part; `None` at the proper end.
    ///
    /// # Errors
    /// [`FetchError`]: it was cut off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        self.0.next().await
    }

    /// Keeps the connection; only after the proper end.
    pub fn put_back(self) {
        self.0.put_back();
    }
}

impl Broker {
    /// Asks for the Group of a kick-off; `None` where everybody is a member. A failure is an answer too.
    pub async fn ask_members(&self, tenant: &TenantId, plan: &ExportPlan) -> Option<UpstreamAnswer> {
        let call = plan.members_call()?;
        // An export is nobody's launch: `decide_export` refuses sessions that have a token of their own.
        Some(self.call(tenant, Authority::Tenant, &call, None).await.answer)
    }

    /// Begins an export whose intent is on record. It is sent once: nobody can tell whether an upstream that did not answer began.
    pub async fn begin_export(&self, tenant: &TenantId, intended: Intended<ExportPermit>) -> (Begun, ExportJob) {
        let permit = intended.into_permit();
        let begun = match self.upstream(tenant) {
            None => Begun::Not(503),
            Some(upstream) => {
                let call = permit.call();
                let url = format!("{}/{}?{}", upstream.base(), call.path, call.query);
                begun(upstream.asked(Method::GET, &url, FHIR_JSON).await)
            }
        };
        (begun, permit.begun())
    }

    /// Asks how far a job is.
    pub async fn export_status(&self, tenant: &TenantId, place: &str) -> ExportStatus {
        let Some(upstream) = self.upstream(tenant) else { return ExportStatus::Failed(503) };
        match upstream.asked(Method::GET, place, JSON).await {
            Err(why) => ExportStatus::Failed(status_of(why)),
            Ok(answer) => match answer.status.as_u16() {
                202 => ExportStatus::Pending(retry_after(&answer)),
                // Too many polls are no end of the job.
                429 | 503 => ExportStatus::Pending(retry_after(&answer)),
                200 => ExportStatus::Done(UpstreamAnswer {
                    status: 200,
                    content_type: header_text(&answer.headers, &CONTENT_TYPE),
                    body: answer.body,
                    ..UpstreamAnswer::default()
                }),
                404 | 410 => ExportStatus::Gone,
                _ => ExportStatus::Failed(502),
            },
        }
    }

    /// Tells the upstream that nobody wants the job any more; what it answered, or the status that stands for a failure.
    pub async fn cancel_export(&self, tenant: &TenantId, place: &str) -> u16 {
        match self.upstream(tenant) {
            None => 503,
            Some(upstream) => match upstream.asked(Method::DELETE, place, JSON).await {
                Ok(answer) => answer.status.as_u16(),
                Err(why) => status_of(why),
            },
        }
    }

    /// Asks for a file.
    ///
    /// # Errors
    /// The status to answer with: 502, 503 or 504.
    pub async fn export_file(&self, tenant: &TenantId, url: &str) -> Result<ExportFileBody, u16> {
        let upstream = self.upstream(tenant).ok_or(503_u16)?;
        let file = upstream.streamed(url).await.map_err(status_of)?;
        let media = header_text(&file.headers, &CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
        // Anything else would be an error page, or a Binary resource around the file.
        let is_lines = media.contains("ndjson") || media.starts_with("application/octet-stream");
        match file.status {
            StatusCode::OK if is_lines => Ok(ExportFileBody(file)),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Err(503),
            _ => Err(502),
        }
    }
}

fn begun(answer: Result<Received, FetchError>) -> Begun {
    match answer {
        Err(why) => Begun::Not(status_of(why)),
        Ok(answer) if answer.status == StatusCode::ACCEPTED => {
            let place = header_text(&answer.headers, &CONTENT_LOCATION);
            place
                .filter(|place| place.parse::<Uri>().is_ok_and(|uri| uri.authority().is_some()))
                .map_or(Begun::Not(502), Begun::At)
        }
        Ok(answer) if matches!(answer.status.as_u16(), 429 | 503) => Begun::Not(503),
        Ok(_) => Begun::Not(502),
    }
}

fn status_of(why: FetchError) -> u16 {
    match why {
        FetchError::Timeout => 504,
        FetchError::Busy | FetchError::Unreachable => 503,
        FetchError::Url | FetchError::TooLarge | FetchError::Broken => 502,
    }
}

/// In seconds; a date, or nonsense, says nothing.
fn retry_after(answer: &Received) -> Option<u32> {
    header_text(&answer.headers, &RETRY_AFTER)?.trim().parse().ok()
}

impl Upstream {
    /// One exchange with a small answer, at the FHIR base's origin with our credential.
    async fn asked(&self, method: Method, url: &str, accept: HeaderValue) -> Result<Received, FetchError> {
        let started = Instant::now();
        let limits = self.limits();
        let mut credential = self.credential_at(url, None).await?;
        let mut renewed = false;
        loop {
            let request = request(&method, url, &accept, &credential)?;
            let left = limits.timeout.checked_sub(started.elapsed()).ok_or(FetchError::Timeout)?;
            let most = limits.body_bytes_max.min(ANSWER_BYTES_MAX);
            let answer = self.outbound().call(request, Limits { timeout: left, body_bytes_max: most }).await?;
            if answer.status != StatusCode::UNAUTHORIZED || renewed || matches!(credential, Credential::None) {
                return Ok(answer);
            }
            (credential, renewed) = (self.credential_at(url, Some(&credential)).await?, true);
        }
    }

    /// One file as it comes.
    async fn streamed(&self, url: &str) -> Result<Streamed, FetchError> {
        let mut credential = self.credential_at(url, None).await?;
        let mut renewed = false;
        loop {
            let request = request(&Method::GET, url, &NDJSON, &credential)?;
            let answer = self.outbound().stream(request, self.limits().timeout).await?;
            if answer.status != StatusCode::UNAUTHORIZED || renewed || matches!(credential, Credential::None) {
                return Ok(answer);
            }
            (credential, renewed) = (self.credential_at(url, Some(&credential)).await?, true);
        }
    }

    /// The credential for a URL: none where it does not lie at the origin of the FHIR base.
    async fn credential_at(&self, url: &str, refused: Option<&Credential>) -> Result<Credential, FetchError> {
        if !is_at_origin(self.base(), url) {
            return Ok(Credential::None);
        }
        tokio::time::timeout(self.limits().timeout, self.credential(refused))
            .await
            .map_err(|_| FetchError::Timeout)?
            .map_err(|NoToken| FetchError::Unreachable)
    }
}

fn request(
    method: &Method,
    url: &str,
    accept: &HeaderValue,
    credential: &Credential,
) -> Result<Request<Full<Bytes>>, FetchError> {
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.method_mut() = method.clone();
    *request.uri_mut() = url.parse().map_err(|_| FetchError::Url)?;
    let headers = request.headers_mut();
    headers.insert(ACCEPT, accept.clone());
    if *accept == FHIR_JSON {
        headers.insert(PREFER, RESPOND_ASYNC);
    }
    match credential {
        Credential::None => {}
        Credential::Fixed(header) => _ = headers.insert(HEADER, header.clone()),
        Credential::Backend(token) => _ = headers.insert(HEADER, token.header()),
        Credential::Own(token) => _ = headers.insert(HEADER, token.header()),
    }
    Ok(request)
}

/// Whether a URL has the scheme, the host and the port of another.
fn is_at_origin(base: &str, url: &str) -> bool {
    let origin = |text: &str| -> Option<(String, String, u16)> {
        let uri: Uri = text.parse().ok()?;
        let scheme = uri.scheme_str()?.to_owned();
        let port = uri.port_u16().or(match scheme.as_str() {
            "https" => Some(443),
            "http" => Some(80),
            _ => None,
        })?;
        // What stands before the host is no part of it, and a sign that somebody wants it taken for one.
        let plain = !uri.authority()?.as_str().contains('@');
        plain.then(|| uri.host().map(str::to_ascii_lowercase)).flatten().map(|host| (scheme, host, port))
    };
    origin(base).is_some_and(|ours| origin(url) == Some(ours))
}

#[test]
fn our_credential_goes_to_one_origin() {
    let base = "https://ehr.example/fhir";
    for (url, is_ours) in [
        ("https://ehr.example/fhir/$export-poll-status?_jobId=1", true),
        ("https://ehr.example:443/files/1.ndjson", true),
        ("https://EHR.example/files/1.ndjson", true),
        ("http://ehr.example/files/1.ndjson", false),
        ("https://ehr.example:8443/x", false),
        ("https://files.ehr.example/x", false),
        ("https://ehr.example.evil/x", false),
        ("https://ehr.example@evil/x", false),
        ("https://x@ehr.example/x", false),
        ("//ehr.example/x", false),
        ("/x", false),
        ("", false),
    ] {
        assert_eq!(is_at_origin(base, url), is_ours, "`{url}`");
    }
}
