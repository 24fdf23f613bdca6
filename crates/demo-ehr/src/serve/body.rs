//! A response body that can pause, repeat without memory, and break off: what the fault modes need.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

/// What happens next while the body is sent.
pub(crate) enum Step {
    Data(Bytes),
    /// The same bytes, this many times.
    Repeat(Bytes, u64),
    /// So many texts, made of these pieces with a number of ten digits between each two.
    Numbered {
        pieces: Vec<String>,
        next: u64,
        left: u64,
    },
    Wait(Duration),
    Abort,
}

/// Numbered texts are handed over in pieces of about this size: few calls, little memory.
const CHUNK_BYTES: usize = 64 * 1024;

/// The next numbered texts, and the step that makes the rest.
fn numbered(pieces: Vec<String>, mut next: u64, mut left: u64) -> (Bytes, Option<Step>) {
    let mut out = String::with_capacity(CHUNK_BYTES);
    while left > 0 && out.len() < CHUNK_BYTES {
        out.push_str(&pieces.join(&format!("{next:010}")));
        next += 1;
        left -= 1;
    }
    (Bytes::from(out), (left > 0).then_some(Step::Numbered { pieces, next, left }))
}

/// Steps sent one after another.
#[derive(Default)]
pub(crate) struct StepBody {
    steps: VecDeque<Step>,
    waiting: Option<Pin<Box<Sleep>>>,
    exact: Option<u64>,
}

impl StepBody {
    pub(crate) fn new(steps: Vec<Step>) -> Self {
        Self { steps: steps.into(), ..Self::default() }
    }

    /// One piece of known size.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        let exact = Some(bytes.len() as u64);
        let steps = if bytes.is_empty() { VecDeque::new() } else { VecDeque::from([Step::Data(bytes)]) };
        Self { steps, waiting: None, exact }
    }
}

impl Body for StepBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(sleep) = self.waiting.as_mut() {
                match sleep.as_mut().poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => self.waiting = None,
                }
            }
            return match self.steps.pop_front() {
                None => Poll::Ready(None),
                Some(Step::Data(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Step::Repeat(_, 0)) => continue,
                Some(Step::Repeat(bytes, times)) => {
                    self.steps.push_front(Step::Repeat(bytes.clone(), times - 1));
                    Poll::Ready(Some(Ok(Frame::data(bytes))))
                }
                Some(Step::Numbered { pieces, next, left }) => {
                    let (bytes, rest) = numbered(pieces, next, left);
                    if let Some(rest) = rest {
                        self.steps.push_front(rest);
                    }
                    Poll::Ready(Some(Ok(Frame::data(bytes))))
                }
                Some(Step::Wait(how_long)) => {
                    self.waiting = Some(Box::pin(tokio::time::sleep(how_long)));
                    continue;
                }
                Some(Step::Abort) => Poll::Ready(Some(Err(io::Error::other("cut off on purpose")))),
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.waiting.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.exact {
            Some(size) if self.waiting.is_none() && !self.steps.is_empty() => SizeHint::with_exact(size),
            Some(_) => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }
}
