//! Group commit: token requests that wait at the same moment share one durable transaction.
//!
//! A refusal is a value and leaves the others alone. Should the database refuse a statement, the group is rolled back
//! and each request is tried once more by itself, so that one bad request cannot fail its neighbours. A crash before
//! the commit leaves nothing; no answer is given before it. What a group does in its transaction is in `group.rs`.

mod group;
pub(crate) mod rows;

use tokio::sync::{mpsc, oneshot};

use crate::StoreError;
use crate::engine::Pool;
use crate::tokens::{Issue, IssueRefusal, Issued, Mint, UsedAssertion};

/// Most requests in one transaction: bounds how long the last of them waits for the first.
const GROUP_MAX: usize = 256;
/// Most requests that may wait: two seconds of work at the rate of one core.
const QUEUE_MAX: usize = 4_096;
/// How often a transaction is tried again after a serialisation failure.
const RETRIES: usize = 4;
type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

enum Request {
    Issue(Box<Issue>),
    Mint(Box<Mint>),
    Use(UsedAssertion),
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Issued(Result<Issued, IssueRefusal>),
    Minted(Result<(), IssueRefusal>),
    Used(bool),
}

struct Job {
    request: Request,
    reply: Reply<Answer>,
}

/// The way to the one task that commits.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Job>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job([sealed])")
    }
}

impl Writer {
    /// Starts the task; it ends when the last handle of the store is gone.
    pub(crate) fn start(pool: Pool) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(work(pool, jobs));
        Self { queue }
    }

    async fn ask(&self, request: Request) -> Result<Answer, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Job { request, reply }).map_err(|_| StoreError::Busy)?;
        answer.await.map_err(|_| StoreError::Busy)?
    }

    pub(crate) async fn issue(&self, issue: Issue) -> Result<Result<Issued, IssueRefusal>, StoreError> {
        match self.ask(Request::Issue(Box::new(issue))).await? {
            Answer::Issued(answer) => Ok(answer),
            _ => Err(StoreError::Corrupt("an answer to another question")),
        }
    }

    pub(crate) async fn mint(&self, mint: Mint) -> Result<Result<(), IssueRefusal>, StoreError> {
        match self.ask(Request::Mint(Box::new(mint))).await? {
            Answer::Minted(answer) => Ok(answer),
            _ => Err(StoreError::Corrupt("an answer to another question")),
        }
    }

    pub(crate) async fn use_assertion(&self, assertion: UsedAssertion) -> Result<bool, StoreError> {
        match self.ask(Request::Use(assertion)).await? {
            Answer::Used(answer) => Ok(answer),
            _ => Err(StoreError::Corrupt("an answer to another question")),
        }
    }
}

async fn work(pool: Pool, mut jobs: mpsc::Receiver<Job>) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while jobs.recv_many(&mut group, GROUP_MAX).await > 0 {
        // Nodes take the gates in one order, so that they wait for each other instead of locking each other out.
        group.sort_by(|a: &Job, b: &Job| gate_key(&a.request).cmp(gate_key(&b.request)));
        let requests: Vec<&Request> = group.iter().map(|job| &job.request).collect();
        match commit(&pool, &requests).await {
            Ok(answers) => {
                for (job, answer) in group.drain(..).zip(answers) {
                    // Whoever asked may have gone; what was committed stays.
                    let _ = job.reply.send(Ok(answer));
                }
            }
            Err(why) => {
                tracing::warn!(requests = group.len(), "token requests failed: {why}");
                alone(&pool, &mut group, why).await;
            }
        }
    }
}

/// After a group failed: each request by itself; a request that failed alone already gets its error.
async fn alone(pool: &Pool, group: &mut Vec<Job>, why: StoreError) {
    if group.len() == 1
        && let Some(job) = group.pop()
    {
        let _ = job.reply.send(Err(why));
        return;
    }
    for job in group.drain(..) {
        let answers = commit(pool, &[&job.request]).await;
        let answer = answers.and_then(|list| list.first().copied().ok_or(StoreError::Busy));
        let _ = job.reply.send(answer);
    }
}

fn gate_key(request: &Request) -> &str {
    match request {
        Request::Issue(issue) => issue.session.integration.as_str(),
        Request::Mint(mint) => mint.ticket.launcher.as_str(),
        Request::Use(_) => "",
    }
}

async fn commit(pool: &Pool, requests: &[&Request]) -> Result<Vec<Answer>, StoreError> {
    let mut tries = 0;
    loop {
        match group::commit(pool, requests).await {
            Err(why) if why.transient() && tries < RETRIES => tries += 1,
            done => return done,
        }
    }
}
