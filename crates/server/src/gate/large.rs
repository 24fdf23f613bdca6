//! Answers that are too large for memory: judged from one sealed spool into another, on a thread that may block.

use std::ops::Range;

use aws_lc_rs::digest::{Context, SHA256};
use policy::{Answered, Interrupted, Sink, Source, Verdict};

use super::{Gate, Tenant};
use crate::hex::hex;
use crate::spool::{Spool, SpoolWriter};

/// A released body that is not in memory.
pub struct Large {
    pub spool: Spool,
    /// SHA-256 of it, hexadecimal.
    pub digest: String,
}

struct Kept(Spool);

impl Source for Kept {
    fn length(&self) -> u64 {
        self.0.length()
    }

    fn chunk(&mut self, index: u64) -> Result<Option<&[u8]>, Interrupted> {
        self.0.chunk(index).map_err(|_| Interrupted)
    }

    fn read(&mut self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), Interrupted> {
        self.0.read(range, out).map_err(|_| Interrupted)
    }
}

struct Written {
    writer: SpoolWriter,
    digest: Context,
}

impl Sink for Written {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Interrupted> {
        self.digest.update(bytes);
        self.writer.write(bytes).map_err(|_| Interrupted)
    }
}

impl Gate {
    /// Judges an answer that was spooled; what is released of it is in a spool of its own.
    pub(super) async fn judged_apart(
        &self,
        tenant: &Tenant,
        answered: Answered,
        spool: Spool,
    ) -> (Verdict, Option<Large>) {
        let (keys, id) = (self.keys.clone(), tenant.settings.id.clone());
        // A little is added to each entry and taken from others; twice the size is never needed.
        let most = spool.length().saturating_mul(2).saturating_add(1024 * 1024);
        let writer = self.broker.spools().and_then(|spools| spools.create(most).ok());
        let judged = tokio::task::spawn_blocking(move || {
            let mut seal = |bytes: &[u8]| keys.seal_page(&id, bytes).ok();
            let Some(writer) = writer else { return (interrupted(), None) };
            let mut sink = Written { writer, digest: Context::new(&SHA256) };
            let verdict = policy::verify_spooled(answered, &mut Kept(spool), &mut sink, &mut seal);
            match &verdict {
                Verdict::Released(released) if released.spooled().is_some() => {
                    let digest = hex(sink.digest.finish().as_ref());
                    match sink.writer.seal() {
                        Ok(spool) if released.spooled() == Some(spool.length()) => {
                            (verdict, Some(Large { spool, digest }))
                        }
                        _ => (interrupted(), None),
                    }
                }
                _ => (verdict, None),
            }
        });
        judged.await.unwrap_or_else(|_| (interrupted(), None))
    }
}

/// Nothing is released of what could not be kept.
fn interrupted() -> Verdict {
    let says = "the answer could not be kept while it was judged; try again";
    Verdict::Denied(policy::Denial { reason: domain::Reason::Overloaded, says: says.to_owned(), scope: None })
}
