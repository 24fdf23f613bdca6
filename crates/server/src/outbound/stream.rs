//! An answer taken as it comes, for what is too long to be held: nothing of it is kept here.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;

use super::pool::Lent;
use super::{FetchError, Outbound, acceptable};

/// The head of an answer, and its body on its way.
pub struct Streamed {
    /// Status; redirects are statuses like any other.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    body: Incoming,
    lent: Lent,
    wait: Duration,
}

impl std::fmt::Debug for Streamed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Streamed({}, [sealed])", self.status)
    }
}

impl Outbound {
    /// Sends one request and gives the head of its answer. `wait` bounds the head, and each part of the body.
    ///
    /// # Errors
    /// [`FetchError`]; also for a body of which nobody could tell whether it was cut off.
    pub async fn stream(&self, mut request: Request<Full<Bytes>>, wait: Duration) -> Result<Streamed, FetchError> {
        acceptable(request.uri())?;
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let sent = tokio::time::timeout(wait, self.pool.send(request)).await;
        let (response, lent) = sent.map_err(|_| FetchError::Timeout)??;
        let (head, body) = response.into_parts();
        let encoded = head.headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity");
        let lengths = head.headers.get_all(CONTENT_LENGTH).iter().count();
        let ends = lengths == 1 || (lengths == 0 && head.headers.contains_key(TRANSFER_ENCODING));
        if encoded || !ends {
            return Err(FetchError::Broken);
        }
        Ok(Streamed { status: head.status, headers: head.headers, body, lent, wait })
    }
}

impl Streamed {
    /// The next part of the body; `None` at its proper end.
    ///
    /// # Errors
    /// [`FetchError`]: it was cut off, or nothing came for too long.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            let frame = tokio::time::timeout(self.wait, self.body.frame()).await.map_err(|_| FetchError::Timeout)?;
            match frame {
                None => return Ok(None),
                Some(Err(_)) => return Err(FetchError::Broken),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Keeps the connection for the next call; only after the proper end.
    pub fn put_back(self) {
        self.lent.put_back();
    }
}
