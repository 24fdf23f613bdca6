//! Look-ups of launch tickets in groups: those that wait at the same moment share one query.
//!
//! A query by itself costs more in changes of thread than in reading. Should a group fail, each look-up is tried once more alone.

use std::collections::HashMap;

use tokio::sync::{mpsc, oneshot};

use crate::StoreError;
use crate::engine::{Bind, Pool, Row};
use crate::tokens::{NewTicket, Ticket};
use crate::writer::rows::Many;

/// Most look-ups in one query.
const GROUP_MAX: usize = 256;
/// Most look-ups that may wait; as many as token requests that may wait to be committed.
const QUEUE_MAX: usize = 4_096;

static FIND: Many<1> = Many::new(
    "SELECT hash, tenant, launcher, integration, task, patient_sealed, patient_tag, encounter_sealed, created_at,
            expires_at, used_at
     FROM (VALUES @) AS v JOIN ticket ON hash = v.column1",
);

type Hash = [u8; 32];

struct Job {
    hash: Hash,
    reply: oneshot::Sender<Result<Option<Ticket>, StoreError>>,
}

/// The way to the one task that looks up.
#[derive(Debug)]
pub(crate) struct Finder {
    queue: mpsc::Sender<Job>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job([sealed])")
    }
}

impl Finder {
    /// Starts the task; it ends when the last handle of the store is gone.
    pub(crate) fn start(pool: Pool) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(work(pool, jobs));
        Self { queue }
    }

    pub(crate) async fn find(&self, hash: &Hash) -> Result<Option<Ticket>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Job { hash: *hash, reply }).map_err(|_| StoreError::Busy)?;
        answer.await.map_err(|_| StoreError::Busy)?
    }
}

async fn work(pool: Pool, mut jobs: mpsc::Receiver<Job>) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while jobs.recv_many(&mut group, GROUP_MAX).await > 0 {
        let hashes: Vec<Hash> = group.iter().map(|job| job.hash).collect();
        match find(&pool, &hashes).await {
            Ok(found) => {
                for job in group.drain(..) {
                    // Several may have asked for one ticket; whoever asked may have gone.
                    let _ = job.reply.send(Ok(found.get(&job.hash).cloned()));
                }
            }
            Err(why) => {
                tracing::warn!(tickets = group.len(), "a look-up of tickets failed: {why}");
                for job in group.drain(..) {
                    let found = find(&pool, &[job.hash]).await;
                    let _ = job.reply.send(found.map(|mut found| found.remove(&job.hash)));
                }
            }
        }
    }
}

async fn find(pool: &Pool, hashes: &[Hash]) -> Result<HashMap<Hash, Ticket>, StoreError> {
    let rows: Vec<_> = hashes.iter().map(|hash| [Bind::Blob(hash)]).collect();
    let rows = FIND.read(pool, &rows).await?;
    rows.iter().map(|row| ticket(row).map(|ticket| (ticket.ticket.hash, ticket))).collect()
}

fn ticket(row: &Row) -> Result<Ticket, StoreError> {
    let ticket = NewTicket {
        hash: row.bytes(0)?,
        tenant: row.parsed(1)?,
        launcher: row.parsed(2)?,
        integration: row.parsed(3)?,
        task: row.parsed(4)?,
        patient_sealed: row.blob(5)?,
        patient_tag: row.bytes(6)?,
        encounter_sealed: row.maybe_blob(7)?,
        created_at: row.int(8)?,
        expires_at: row.int(9)?,
    };
    Ok(Ticket { ticket, used_at: row.maybe_int(10)? })
}
