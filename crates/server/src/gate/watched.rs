//! A large body on its way: looked after each second, and broken off when its session has ended (DESIGN, step 2).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body::{Body, Frame, SizeHint};
use hyper::body::Bytes;

use crate::spool::{Spool, SpoolBody};

/// How often the session is looked at while a body is taken.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Says whether the session a body belongs to is still alive.
pub type Alive = Box<dyn Fn() -> bool + Send + Sync>;

/// A spool as a body that ends with its session.
pub struct Watched {
    body: SpoolBody,
    alive: Alive,
    looked_at: Instant,
}

/// Why a body was broken off.
#[derive(Debug, thiserror::Error)]
pub enum BrokenOff {
    /// The spool cannot be read.
    #[error(transparent)]
    Spool(#[from] crate::spool::SpoolError),
    /// The session has ended.
    #[error("the session has ended")]
    Ended,
    /// A file of an export cannot go on.
    #[error("the file was broken off")]
    Cut,
    /// The record of its end could not be made durable.
    #[error("the end of the file could not be recorded")]
    Unrecorded,
}

impl Watched {
    /// A body of `spool` for as long as `alive` says so.
    pub fn new(spool: Spool, alive: Alive) -> Self {
        Self { body: spool.into(), alive, looked_at: Instant::now() }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.looked_at.elapsed() >= LOOK_EVERY {
            if !(self.alive)() {
                return Poll::Ready(Some(Err(BrokenOff::Ended)));
            }
            self.looked_at = Instant::now();
        }
        Pin::new(&mut self.body).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(BrokenOff::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
