//! A spool as the body of an answer: one chunk in memory, read only when the connection asks for more.

use std::io::ErrorKind;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use super::{Spool, SpoolError};

/// Streams a spool. Its length is known, so an error on the way breaks the answer off: a short body is no success.
pub struct SpoolBody {
    state: State,
    index: u64,
    left: u64,
}

enum State {
    Idle(Spool),
    Reading(JoinHandle<Result<(Bytes, Option<Spool>), SpoolError>>),
    Done,
}

/// Holds PHI: debug output shows none of it.
impl std::fmt::Debug for SpoolBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SpoolBody([sealed])")
    }
}

impl From<Spool> for SpoolBody {
    fn from(spool: Spool) -> Self {
        Self { left: spool.length(), state: State::Idle(spool), index: 0 }
    }
}

impl Body for SpoolBody {
    type Data = Bytes;
    type Error = SpoolError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SpoolError>>> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Idle(mut spool) if self.left > 0 => {
                    let (index, left) = (self.index, self.left);
                    self.state = State::Reading(tokio::task::spawn_blocking(move || {
                        let chunk = spool.take_chunk(index)?;
                        // Behind the last chunk the file goes, here: giving back its blocks can take a while.
                        let spool = (left > chunk.len() as u64).then_some(spool);
                        Ok((chunk, spool))
                    }));
                }
                State::Reading(mut reading) => {
                    let Poll::Ready(read) = Pin::new(&mut reading).poll(cx) else {
                        self.state = State::Reading(reading);
                        return Poll::Pending;
                    };
                    let (chunk, spool) = match read.unwrap_or(Err(SpoolError::Io(ErrorKind::Other))) {
                        Ok(read) => read,
                        Err(why) => return Poll::Ready(Some(Err(why))),
                    };
                    self.left = self.left.saturating_sub(chunk.len() as u64);
                    self.index += 1;
                    self.state = spool.map_or(State::Done, State::Idle);
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
                State::Idle(_) | State::Done => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
