//! Outgoing connections: vetted names and addresses, bounded answers, no redirects, no proxies.
//!
//! A name is resolved, each address is judged, and the connection goes to exactly the address that was judged, so a second
//! look-up cannot answer differently (rebinding). TLS 1.3 only; plaintext reaches loopback alone, and only for hosts that
//! configuration names. Nothing here follows a `Location`.

mod connector;
mod pool;
mod stream;
pub mod vet;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::connector::Connector;
use self::pool::Pool;
pub use self::stream::Streamed;
use crate::settings::OutboundSettings;
use crate::spool::{Spool, SpoolError, Spools};

/// Bytes of answers held in memory over the whole process, in KiB: 128 MiB leaves room under the 300 MiB promise.
const BUFFERED_KIB_MAX: u32 = 128 * 1024;
/// Largest body verified in memory where it could be spooled (DESIGN, step 7).
pub const MEMORY_BYTES_MAX: usize = 1024 * 1024;
/// Bodies of unknown length reserve memory in steps of this many KiB.
const STEP_KIB: usize = 64;
/// Why no usable answer came. Says nothing about addresses: to callers all of these look alike (NEG-151).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FetchError {
    /// The URL is not one Hilum calls: scheme, user info, or no host.
    #[error("the url is not acceptable")]
    Url,
    /// The name or its addresses are not acceptable, or nothing answers there.
    #[error("the server cannot be reached")]
    Unreachable,
    /// The whole answer did not arrive in time.
    #[error("the answer took too long")]
    Timeout,
    /// The answer is larger than accepted.
    #[error("the answer is too large")]
    TooLarge,
    /// The answer was cut off, compressed against our wish, or not HTTP.
    #[error("the answer is broken")]
    Broken,
    /// Too many bytes are being held already.
    #[error("too many answers are being worked on")]
    Busy,
}

/// Why the client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum OpenOutboundError {
    /// The extra trust anchors cannot be read.
    #[error("trust anchors `{file}`: {why}")]
    Anchors {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// The TLS library refused its configuration.
    #[error("tls: {0}")]
    Tls(#[from] rustls::Error),
}

/// What one call may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest wait for the whole answer, connecting included.
    pub timeout: Duration,
    /// Largest body.
    pub body_bytes_max: usize,
}

/// Memory held for an answer; give it back by dropping it once the body is gone.
#[derive(Debug)]
pub struct Lease(#[expect(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>);

/// A whole answer.
pub struct Received {
    /// Status; redirects are statuses like any other.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body; empty when it was spooled.
    pub body: Vec<u8>,
    /// The body, where it was too large for memory and spools were offered.
    pub spool: Option<Spool>,
    /// Its share of the process's memory.
    pub lease: Lease,
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Received({}, [sealed])", self.status)
    }
}

/// The one way out. Cheap to clone; connections are shared.
#[derive(Clone)]
pub struct Outbound {
    pool: Arc<Pool>,
    buffered: Arc<Semaphore>,
}

impl Outbound {
    /// A client under `settings`.
    ///
    /// # Errors
    /// [`OpenOutboundError`] when trust anchors cannot be read.
    pub fn new(settings: &OutboundSettings) -> Result<Self, OpenOutboundError> {
        let pool = Arc::new(Pool::new(Connector::new(settings)?));
        Ok(Self { pool, buffered: Arc::new(Semaphore::new(BUFFERED_KIB_MAX as usize)) })
    }

    /// Sends one request and takes the whole answer. `Accept-Encoding: identity` is ours: what cannot be read cannot be judged.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn call(&self, request: Request<Full<Bytes>>, limits: Limits) -> Result<Received, FetchError> {
        self.call_into(request, limits, None).await
    }

    /// As [`Outbound::call`]; a body over [`MEMORY_BYTES_MAX`] goes into a spool.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn call_into(
        &self,
        mut request: Request<Full<Bytes>>,
        limits: Limits,
        spools: Option<&Spools>,
    ) -> Result<Received, FetchError> {
        acceptable(request.uri())?;
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        match tokio::time::timeout(limits.timeout, self.exchange(request, limits.body_bytes_max, spools)).await {
            Ok(done) => done,
            Err(_) => Err(FetchError::Timeout),
        }
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        most: usize,
        spools: Option<&Spools>,
    ) -> Result<Received, FetchError> {
        let (response, lent) = self.pool.send(request).await?;
        let (head, body) = response.into_parts();
        let encoded = head.headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity");
        if encoded || head.headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
            return Err(FetchError::Broken);
        }
        let Collected { body, spool, lease } = self.collect(body, most, spools).await?;
        lent.put_back();
        Ok(Received { status: head.status, headers: head.headers, body, spool, lease })
    }

    /// Takes the body within `most` bytes. A cut-off body is an error of hyper, never a short success.
    async fn collect(&self, mut body: Incoming, most: usize, spools: Option<&Spools>) -> Result<Collected, FetchError> {
        let announced = body.size_hint().exact().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        if announced.is_some_and(|length| length > most) {
            return Err(FetchError::TooLarge);
        }
        let mut held: Option<OwnedSemaphorePermit> = None;
        let mut held_bytes = 0_usize;
        let in_memory = spools.map_or(usize::MAX, |_| MEMORY_BYTES_MAX);
        if let Some(length) = announced.filter(|length| (1..=in_memory).contains(length)) {
            held_bytes = self.hold(&mut held, length.div_ceil(1024))?;
        }
        let mut out = Vec::with_capacity(announced.filter(|length| *length <= in_memory).unwrap_or(0));
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| FetchError::Broken)?.into_data() else { continue };
            let length = out.len() + data.len();
            if length > most {
                return Err(FetchError::TooLarge);
            }
            if let Some(spools) = spools
                && length > in_memory
            {
                let start = out.len() + data.len();
                out.extend_from_slice(&data);
                return Box::pin(spooled(body, out, start, most, announced, spools)).await;
            }
            if length > held_bytes {
                held_bytes += self.hold(&mut held, (length - held_bytes).div_ceil(1024).max(STEP_KIB))?;
            }
            out.extend_from_slice(&data);
        }
        if announced.is_some_and(|length| length != out.len()) {
            return Err(FetchError::Broken);
        }
        Ok(Collected { body: out, spool: None, lease: Lease(held) })
    }

    /// A share of the memory for what is kept of answers.
    pub(crate) fn keep(&self, bytes: usize) -> Result<Lease, FetchError> {
        let mut held = None;
        if bytes > 0 {
            self.hold(&mut held, bytes.div_ceil(1024))?;
        }
        Ok(Lease(held))
    }

    /// Reserves `kib` more; never waits, since two that wait for each other would hold half each for ever.
    fn hold(&self, held: &mut Option<OwnedSemaphorePermit>, kib: usize) -> Result<usize, FetchError> {
        let wanted = u32::try_from(kib).map_err(|_| FetchError::TooLarge)?;
        let more = Arc::clone(&self.buffered).try_acquire_many_owned(wanted).map_err(|_| FetchError::Busy)?;
        match held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        Ok(kib * 1024)
    }
}

/// A body as it was taken.
struct Collected {
    body: Vec<u8>,
    spool: Option<Spool>,
    lease: Lease,
}

/// Takes the rest of a body into a spool, behind what was taken already.
async fn spooled(
    mut body: Incoming,
    begun: Vec<u8>,
    mut length: usize,
    most: usize,
    announced: Option<usize>,
    spools: &Spools,
) -> Result<Collected, FetchError> {
    let failed = |why: SpoolError| match why {
        SpoolError::TooLarge => FetchError::TooLarge,
        SpoolError::Full => FetchError::Busy,
        SpoolError::Io(_) | SpoolError::Tampered => {
            tracing::error!(%why, "an answer could not be spooled");
            FetchError::Busy
        }
    };
    let writer = spools.create(most as u64).map_err(failed)?;
    let mut writer = writer.append(Bytes::from(begun)).await.map_err(failed)?;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| FetchError::Broken)?.into_data() else { continue };
        length += data.len();
        if length > most {
            return Err(FetchError::TooLarge);
        }
        writer = writer.append(data).await.map_err(failed)?;
    }
    if announced.is_some_and(|announced| announced != length) {
        return Err(FetchError::Broken);
    }
    let spool = writer.finish().await.map_err(failed)?;
    Ok(Collected { body: Vec::new(), spool: Some(spool), lease: Lease(None) })
}

fn acceptable(uri: &Uri) -> Result<(), FetchError> {
    let scheme = matches!(uri.scheme_str(), Some("https" | "http"));
    let authority =
        uri.authority().is_some_and(|authority| !authority.as_str().contains('@') && !authority.host().is_empty());
    if scheme && authority { Ok(()) } else { Err(FetchError::Url) }
}
