//! Connections kept for the next call, one HTTP/1.1 exchange on each at a time.
//!
//! A connection is put back once its answer was taken whole, and given out newest first. A request is sent once: it goes to another
//! connection only when hyper hands it back untouched, because the kept one had been closed before anything was written. What an
//! upstream says unasked ends the connection, so it can never be taken for the answer to the next call.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use parking_lot::Mutex;

use super::FetchError;
use super::connector::Connector;

/// Idle connections kept per upstream; as many as may be in use at once under the benchmark's load.
const IDLE_MAX: usize = 512;
/// How long an idle connection is kept: shorter than the 60 s at which common servers close theirs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);
/// How often those that were idle for too long are looked for.
const REAP_EVERY: Duration = Duration::from_secs(15);
/// Largest answer head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most header fields in an answer.
const HEADERS_MAX: usize = 128;

type Sender = SendRequest<Full<Bytes>>;

/// Scheme and authority, compared without regard to case: what a connection was vetted for.
type Place = (Scheme, Authority);

struct Idle {
    sender: Sender,
    since: Instant,
}

/// Idle connections by place. While there is a place, [`reap`] runs.
type Places = HashMap<Place, Vec<Idle>>;

/// The connections of one [`super::Outbound`].
pub(super) struct Pool {
    connector: Connector,
    http: Builder,
    idle: Arc<Mutex<Places>>,
}

/// The connection that an answer comes by. Dropped, it is closed.
pub(super) struct Lent {
    place: Place,
    sender: Sender,
    idle: Weak<Mutex<Places>>,
}

impl Pool {
    pub(super) fn new(connector: Connector) -> Self {
        let mut http = Builder::new();
        http.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
        Self { connector, http, idle: Arc::default() }
    }

    /// Sends a request and gives the head of its answer. The body is the caller's to take; then [`Lent::put_back`].
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Result<(Response<Incoming>, Lent), FetchError> {
        let (uri, mut request) = to_origin(request)?;
        let place = (uri.scheme().cloned(), uri.authority().cloned());
        let (Some(scheme), Some(authority)) = place else { return Err(FetchError::Url) };
        let place = (scheme, authority);
        loop {
            let kept = self.take(&place);
            let used = kept.is_some();
            let mut sender = match kept {
                Some(sender) => sender,
                None => Box::pin(self.connect(&uri)).await?,
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    return Ok((response, Lent { place, sender, idle: Arc::downgrade(&self.idle) }));
                }
                Err(mut failed) => match failed.take_message().filter(|_| used) {
                    Some(unsent) => request = unsent,
                    None => {
                        tracing::debug!(why = %failed.into_error(), "an outgoing call failed");
                        return Err(FetchError::Broken);
                    }
                },
            }
        }
    }

    /// The newest idle connection to a place that is still open.
    fn take(&self, place: &Place) -> Option<Sender> {
        let mut places = self.idle.lock();
        let kept = places.get_mut(place)?;
        let fit = |idle: &Idle| idle.since.elapsed() < IDLE_TIMEOUT && idle.sender.is_ready();
        std::iter::from_fn(|| kept.pop()).find(fit).map(|idle| idle.sender)
    }

    async fn connect(&self, uri: &Uri) -> Result<Sender, FetchError> {
        let stream = self.connector.connect(uri).await.map_err(|why| {
            tracing::debug!(%why, "an outgoing connection failed");
            FetchError::Unreachable
        })?;
        let (sender, connection) = self.http.handshake(stream).await.map_err(|_| FetchError::Unreachable)?;
        tokio::spawn(async move {
            // Whoever waits for an answer is told by hyper; of an idle connection's end there is nothing to tell.
            let _ = connection.await;
        });
        Ok(sender)
    }
}

impl Lent {
    /// Keeps the connection for the next call, now or as soon as hyper is done with the exchange.
    pub(super) fn put_back(mut self) {
        if self.sender.is_ready() {
            self.keep();
        } else if !self.sender.is_closed() {
            tokio::spawn(async move {
                if let Ok(Ok(())) = tokio::time::timeout(IDLE_TIMEOUT, self.sender.ready()).await {
                    self.keep();
                }
            });
        }
    }

    fn keep(self) {
        let Self { place, sender, idle } = self;
        let Some(idle) = idle.upgrade() else { return };
        let mut places = idle.lock();
        if places.is_empty() {
            tokio::spawn(reap(Arc::downgrade(&idle)));
        }
        let kept = match places.entry(place) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Vec::new()),
        };
        if kept.len() < IDLE_MAX {
            kept.push(Idle { sender, since: Instant::now() });
        }
    }
}

/// Closes connections that were idle for too long, until none is left.
async fn reap(idle: Weak<Mutex<Places>>) {
    loop {
        tokio::time::sleep(REAP_EVERY).await;
        let Some(idle) = idle.upgrade() else { return };
        let mut places = idle.lock();
        places.retain(|_, kept| {
            kept.retain(|Idle { sender, since }| since.elapsed() < IDLE_TIMEOUT && !sender.is_closed());
            !kept.is_empty()
        });
        if places.is_empty() {
            return;
        }
    }
}

/// The request as it is written: the path alone as its target, the authority as its `Host` (RFC 9112 §3.2.1).
fn to_origin(mut request: Request<Full<Bytes>>) -> Result<(Uri, Request<Full<Bytes>>), FetchError> {
    let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let uri = std::mem::replace(request.uri_mut(), Uri::from(path));
    let default = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let authority = uri.authority().ok_or(FetchError::Url)?;
    let text = if authority.port_u16() == Some(default) { authority.host() } else { authority.as_str() };
    let host = HeaderValue::from_str(text).map_err(|_| FetchError::Url)?;
    request.headers_mut().insert(HOST, host);
    Ok((uri, request))
}

#[cfg(test)]
mod tests;
