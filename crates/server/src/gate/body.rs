//! Request bodies: taken only from callers that are known, within a limit and a time.

use std::sync::Arc;
use std::time::Duration;

use domain::Reason;
use fhir::request::BODY_BYTES_MAX;
use http::StatusCode;
use http::header::{CONTENT_ENCODING, HeaderMap};
use http_body::Body;
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Refusal;

/// Longest wait for a whole body; a peer that sends 8 MiB in this time has 2 Mbit/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of request bodies held over the whole process, in KiB.
const HELD_KIB_MAX: usize = 64 * 1024;
/// Memory is reserved in steps of this many KiB.
const STEP_KIB: usize = 64;

/// What all request bodies together may hold.
#[derive(Clone)]
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(HELD_KIB_MAX)))
    }
}

/// A whole body; its share of the room is given back with it.
pub struct Held {
    pub bytes: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Takes a body. What is compressed cannot be looked at before it is taken, so it is refused (PS-15).
    pub async fn take<B>(&self, headers: &HeaderMap, body: B) -> Result<Held, Refusal>
    where
        B: Body<Data = Bytes>,
    {
        if headers.get_all(CONTENT_ENCODING).iter().any(|encoding| encoding != "identity") {
            return Err(Refusal {
                status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
                issue: "not-supported",
                ..Refusal::new(Reason::NotSupported, "send the body without Content-Encoding")
            });
        }
        match tokio::time::timeout(BODY_TIMEOUT, self.collect(body)).await {
            Ok(taken) => taken,
            Err(_) => Err(Refusal {
                status: StatusCode::REQUEST_TIMEOUT,
                ..Refusal::new(Reason::RequestInvalid, "the body did not arrive in time")
            }),
        }
    }

    async fn collect<B>(&self, body: B) -> Result<Held, Refusal>
    where
        B: Body<Data = Bytes>,
    {
        let mut body = std::pin::pin!(body);
        let mut held: Option<OwnedSemaphorePermit> = None;
        let (mut bytes, mut reserved) = (Vec::new(), 0_usize);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refusal::new(Reason::RequestInvalid, "the body was cut off"))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = bytes.len() + data.len();
            if length > BODY_BYTES_MAX {
                return Err(Refusal {
                    status: StatusCode::PAYLOAD_TOO_LARGE,
                    issue: "too-long",
                    ..Refusal::new(Reason::RequestInvalid, "the body is too large")
                });
            }
            if length > reserved {
                let kib = (length - reserved).div_ceil(1024).max(STEP_KIB);
                let overloaded = || Refusal::new(Reason::Overloaded, "too many bodies are being taken; try again");
                let more = Arc::clone(&self.0)
                    .try_acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX))
                    .map_err(|_| overloaded())?;
                match &mut held {
                    Some(held) => held.merge(more),
                    None => held = Some(more),
                }
                reserved += kib * 1024;
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Held { bytes, _room: held })
    }
}
