//! Group commit: token requests that wait at the same moment share one durable transaction.
//!
//! A refusal is a value and leaves the others alone. Should the database refuse a statement, the group is rolled back
//! and each request is tried once more by itself, so that one bad request cannot fail its neighbours. A crash before
//! the commit leaves nothing; no answer is given before it.

use std::collections::BTreeMap;

use domain::Millis;
use tokio::sync::{mpsc, oneshot};

use crate::StoreError;
use crate::engine::{Bind, Pool, Statement, Tx};
use crate::feed;
use crate::sessions::launch_word;
use crate::tokens::{Issue, IssueRefusal, Issued, Mint, NewSession, NewTicket, UsedAssertion};

/// Most requests in one transaction: bounds how long the last of them waits for the first.
const GROUP_MAX: usize = 256;
/// Most requests that may wait: two seconds of work at the rate of one core.
const QUEUE_MAX: usize = 4_096;
/// How often a transaction is tried again after a serialisation failure.
const RETRIES: usize = 4;
/// The window of the distinct-patient budget.
const HOUR: Millis = 3_600_000;

const USE: Statement<3> = Statement::new(
    "INSERT INTO used_assertion (issuer, jti, expires_at) VALUES ($1, $2, $3)
     ON CONFLICT (issuer, jti) DO NOTHING RETURNING jti",
);
const GATE: Statement<1> = Statement::new(
    "INSERT INTO patient_gate (integration, n) VALUES ($1, 1)
     ON CONFLICT (integration) DO UPDATE SET n = patient_gate.n + 1",
);
const COUNT_SEEN: Statement<3> = Statement::new(
    "SELECT COUNT(*) FROM
       (SELECT 1 AS one FROM patient_seen WHERE integration = $1 AND seen_at > $2 LIMIT $3) AS window_now",
);
const SEEN: Statement<3> = Statement::new(
    "UPDATE patient_seen SET seen_at = $3 WHERE integration = $1 AND tag = $2 AND seen_at > $3 - 3600000
     RETURNING seen_at",
);
const SEE: Statement<3> = Statement::new(
    "INSERT INTO patient_seen (integration, tag, seen_at) VALUES ($1, $2, $3)
     ON CONFLICT (integration, tag) DO UPDATE SET seen_at = excluded.seen_at",
);
const REDEEM: Statement<6> = Statement::new(
    "UPDATE ticket SET used_at = $2
     WHERE hash = $1 AND used_at IS NULL AND expires_at > $2 AND tenant = $3 AND integration = $4 AND task = $5
       AND patient_tag = $6
     RETURNING hash",
);
const START: Statement<14> = Statement::new(
    "INSERT INTO session (id, tenant, integration, approval, task, version, epoch, launch, patient_sealed,
                          patient_tag, scope, jti, created_at, expires_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
);
const MINT: Statement<10> = Statement::new(
    "INSERT INTO ticket (hash, tenant, launcher, integration, task, patient_sealed, patient_tag, encounter_sealed,
                         created_at, expires_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
);

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
        match commit_once(pool, requests).await {
            Err(why) if why.transient() && tries < RETRIES => tries += 1,
            done => return done,
        }
    }
}

async fn commit_once(pool: &Pool, requests: &[&Request]) -> Result<Vec<Answer>, StoreError> {
    let mut tx = pool.begin().await?;
    let mut counts = Counts::default();
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(match request {
            Request::Issue(issue) => Answer::Issued(issue_one(&mut tx, &mut counts, issue).await?),
            Request::Mint(mint) => Answer::Minted(mint_one(&mut tx, &mut counts, mint).await?),
            Request::Use(assertion) => Answer::Used(use_up(&mut tx, assertion).await?),
        });
    }
    // The number is read once, last: a token may only claim what its node can reach.
    let feed = feed::reached(&mut tx).await?;
    tx.commit().await?;
    for answer in &mut answers {
        if let Answer::Issued(Ok(issued)) = answer {
            issued.feed = feed;
        }
    }
    Ok(answers)
}

async fn use_up(tx: &mut Tx, assertion: &UsedAssertion) -> Result<bool, StoreError> {
    let binds = [Bind::Text(&assertion.issuer), Bind::Text(&assertion.jti), Bind::Int(assertion.expires_at)];
    Ok(tx.row(USE, binds).await?.is_some())
}

/// Distinct patients per integration, counted once per group and kept up to date within it.
#[derive(Default)]
struct Counts(BTreeMap<String, u64>);

/// One patient against one integration's budget.
struct Visit<'a> {
    integration: &'a str,
    tag: &'a [u8; 16],
    now: Millis,
    patients_per_hour: u32,
}

impl Counts {
    /// Counts the visit; `false` when the patient would be one too many.
    async fn allow(&mut self, tx: &mut Tx, visit: &Visit<'_>) -> Result<bool, StoreError> {
        let Visit { integration, tag, now, patients_per_hour } = visit;
        if !self.0.contains_key(*integration) {
            tx.run(GATE, [Bind::Text(integration)]).await?;
            // One row more than the budget is as good as all of them.
            let most = i64::from(*patients_per_hour) + 1;
            let binds = [Bind::Text(integration), Bind::Int(now - HOUR), Bind::Int(most)];
            let row = tx.row(COUNT_SEEN, binds).await?.ok_or(StoreError::Corrupt("no count"))?;
            self.0.insert((*integration).to_owned(), row.count(0)?);
        }
        let visit = [Bind::Text(integration), Bind::Blob(*tag), Bind::Int(*now)];
        if tx.row(SEEN, visit).await?.is_some() {
            return Ok(true);
        }
        let Some(count) = self.0.get_mut(*integration) else { return Ok(false) };
        if *count >= u64::from(*patients_per_hour) {
            return Ok(false);
        }
        *count += 1;
        tx.run(SEE, visit).await?;
        Ok(true)
    }
}

async fn issue_one(
    tx: &mut Tx,
    counts: &mut Counts,
    issue: &Issue,
) -> Result<Result<Issued, IssueRefusal>, StoreError> {
    let session = &issue.session;
    if !use_up(tx, &issue.assertion).await? {
        return Ok(Err(IssueRefusal::AssertionReplayed));
    }
    if let Some(hash) = &issue.ticket {
        let binds = [
            Bind::Blob(hash),
            Bind::Int(session.created_at),
            Bind::Text(session.tenant.as_str()),
            Bind::Text(session.integration.as_str()),
            Bind::Text(session.task.name.as_str()),
            Bind::Blob(&session.patient_tag),
        ];
        if tx.row(REDEEM, binds).await?.is_none() {
            return Ok(Err(IssueRefusal::TicketUnusable));
        }
    }
    // A ticket redeemed over budget stays used: it was one chance.
    let visit = Visit {
        integration: session.integration.as_str(),
        tag: &session.patient_tag,
        now: session.created_at,
        patients_per_hour: issue.patients_per_hour,
    };
    if !counts.allow(tx, &visit).await? {
        return Ok(Err(IssueRefusal::PatientBudgetSpent));
    }
    start(tx, session).await?;
    Ok(Ok(Issued { feed: 0 }))
}

async fn start(tx: &mut Tx, session: &NewSession) -> Result<(), StoreError> {
    let (id, approval) = (session.id.to_string(), session.approval.to_string());
    let binds = [
        Bind::Text(&id),
        Bind::Text(session.tenant.as_str()),
        Bind::Text(session.integration.as_str()),
        Bind::Text(&approval),
        Bind::Text(session.task.name.as_str()),
        Bind::Int(i64::from(session.task.version)),
        Bind::Int(i64::try_from(session.epoch).unwrap_or(i64::MAX)),
        Bind::Text(launch_word(session.launch)),
        Bind::Blob(&session.patient_sealed),
        Bind::Blob(&session.patient_tag),
        Bind::Text(&session.scope),
        Bind::Text(&session.jti),
        Bind::Int(session.created_at),
        Bind::Int(session.expires_at),
    ];
    tx.run(START, binds).await?;
    Ok(())
}

async fn mint_one(tx: &mut Tx, counts: &mut Counts, mint: &Mint) -> Result<Result<(), IssueRefusal>, StoreError> {
    if !use_up(tx, &mint.assertion).await? {
        return Ok(Err(IssueRefusal::AssertionReplayed));
    }
    let NewTicket { hash, tenant, launcher, integration, task, .. } = &mint.ticket;
    let visit = Visit {
        integration: launcher.as_str(),
        tag: &mint.ticket.patient_tag,
        now: mint.ticket.created_at,
        patients_per_hour: mint.patients_per_hour,
    };
    if !counts.allow(tx, &visit).await? {
        return Ok(Err(IssueRefusal::PatientBudgetSpent));
    }
    let binds = [
        Bind::Blob(hash),
        Bind::Text(tenant.as_str()),
        Bind::Text(launcher.as_str()),
        Bind::Text(integration.as_str()),
        Bind::Text(task.as_str()),
        Bind::Blob(&mint.ticket.patient_sealed),
        Bind::Blob(&mint.ticket.patient_tag),
        Bind::MaybeBlob(mint.ticket.encounter_sealed.as_deref()),
        Bind::Int(mint.ticket.created_at),
        Bind::Int(mint.ticket.expires_at),
    ];
    tx.run(MINT, binds).await?;
    Ok(Ok(()))
}
