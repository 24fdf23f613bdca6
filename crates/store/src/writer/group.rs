//! One transaction for a group of token requests: each step is one statement over the rows of all of them.
//!
//! The outcome is that of the requests taken one after the other in the group's order; the maps below settle what they
//! would do to each other. Every node takes its locks in one order: assertions, tickets, gates, patients.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use domain::Millis;

use super::rows::Many;
use super::{Answer, Request};
use crate::StoreError;
use crate::engine::{Bind, Pool, Row, Tx};
use crate::feed;
use crate::once::{OnceKind, TAKE};
use crate::person_sessions;
use crate::tokens::{Issue, IssueRefusal, Issued, Mint, NewSession, NewTicket, UsedAssertion};

/// The windows of the distinct-patient budgets: an hour and a day.
const WINDOWS: [Millis; 2] = [3_600_000, 24 * 3_600_000];
/// What is said when one of them is full.
const SPENT: [IssueRefusal; 2] = [IssueRefusal::PatientBudgetSpent, IssueRefusal::PatientDayBudgetSpent];

static USE: Many<3> = Many::new(
    "INSERT INTO used_assertion (issuer, jti, expires_at)
     SELECT column1, column2, column3 FROM (VALUES @) AS v WHERE column1 IS NOT NULL
     ON CONFLICT (issuer, jti) DO NOTHING",
);
static USE_NAMED: Many<3> = Many::new(
    "INSERT INTO used_assertion (issuer, jti, expires_at)
     SELECT column1, column2, column3 FROM (VALUES @) AS v WHERE column1 IS NOT NULL
     ON CONFLICT (issuer, jti) DO NOTHING RETURNING issuer, jti",
);
static REDEEM: Many<6> = Many::new(
    "UPDATE ticket SET used_at = v.column2 FROM (VALUES @) AS v
     WHERE hash = v.column1 AND used_at IS NULL AND expires_at > v.column2 AND tenant = v.column3
       AND integration = v.column4 AND task = v.column5 AND patient_tag = v.column6",
);
static REDEEM_NAMED: Many<6> = Many::new(
    "UPDATE ticket SET used_at = v.column2 FROM (VALUES @) AS v
     WHERE hash = v.column1 AND used_at IS NULL AND expires_at > v.column2 AND tenant = v.column3
       AND integration = v.column4 AND task = v.column5 AND patient_tag = v.column6
     RETURNING hash",
);
static GATE: Many<1> = Many::new(
    "INSERT INTO patient_gate (integration, n)
     SELECT column1, 1 FROM (VALUES @) AS v WHERE column1 IS NOT NULL
     ON CONFLICT (integration) DO UPDATE SET n = patient_gate.n + 1",
);
/// Positions of the patients inside a window, in one row.
static SEEN: Many<4> = Many::new(
    "SELECT string_agg(CAST(v.column4 AS TEXT), ' ') FROM (VALUES @) AS v
     WHERE EXISTS (SELECT 1 FROM patient_seen
                   WHERE integration = v.column1 AND tag = v.column2 AND seen_at > v.column3)",
);
/// Positions of integrations and windows, each with its count, in one row.
static COUNT_SEEN: Many<3> = Many::new(
    "SELECT string_agg(CAST(v.column3 AS TEXT) || ' ' || CAST(
            (SELECT COUNT(*) FROM
               (SELECT 1 AS one FROM patient_seen WHERE integration = v.column1 AND seen_at > v.column2 LIMIT ?)
               AS window_now) AS TEXT), ' ')
     FROM (VALUES @) AS v WHERE v.column1 IS NOT NULL",
);
static SEE: Many<3> = Many::new(
    "INSERT INTO patient_seen (integration, tag, seen_at)
     SELECT column1, column2, column3 FROM (VALUES @) AS v WHERE column1 IS NOT NULL
     ON CONFLICT (integration, tag) DO UPDATE SET seen_at = excluded.seen_at",
);
static START: Many<14> = Many::new(
    "INSERT INTO session (id, tenant, integration, approval, task, version, epoch, launch, patient_sealed,
                          patient_tag, scope, jti, created_at, expires_at)
     SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9,
            column10, column11, column12, column13, column14
     FROM (VALUES @) AS v WHERE column1 IS NOT NULL",
);
static MINT: Many<10> = Many::new(
    "INSERT INTO ticket (hash, tenant, launcher, integration, task, patient_sealed, patient_tag, encounter_sealed,
                         created_at, expires_at)
     SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9, column10
     FROM (VALUES @) AS v WHERE column1 IS NOT NULL",
);

/// One request and what has become of it so far.
struct Entry<'a> {
    request: &'a Request,
    refused: Option<IssueRefusal>,
}

/// One patient against one integration's budget.
struct Visit<'a> {
    integration: &'a str,
    tag: &'a [u8; 16],
    now: Millis,
    /// Per window.
    most: [u32; 2],
}

impl<'a> Entry<'a> {
    fn assertion(&self) -> &'a UsedAssertion {
        match self.request {
            Request::Issue(issue) => &issue.assertion,
            Request::Mint(mint) => &mint.assertion,
            Request::Use(assertion) => assertion,
        }
    }

    /// The issue, unless it was refused.
    fn issue(&self) -> Option<&'a Issue> {
        match self.request {
            Request::Issue(issue) if self.refused.is_none() => Some(issue),
            _ => None,
        }
    }

    /// The mint, unless it was refused.
    fn mint(&self) -> Option<&'a Mint> {
        match self.request {
            Request::Mint(mint) if self.refused.is_none() => Some(mint),
            _ => None,
        }
    }

    /// The patient it reaches, unless it was refused.
    fn visit(&self) -> Option<Visit<'a>> {
        if let Some(Issue { session, patients_per_hour, patients_per_day, .. }) = self.issue() {
            let (integration, tag, now) = (session.integration.as_str(), &session.patient_tag, session.created_at);
            return Some(Visit { integration, tag, now, most: [*patients_per_hour, *patients_per_day] });
        }
        let Mint { ticket, patients_per_hour, patients_per_day, .. } = self.mint()?;
        let (integration, tag, now) = (ticket.launcher.as_str(), &ticket.patient_tag, ticket.created_at);
        Some(Visit { integration, tag, now, most: [*patients_per_hour, *patients_per_day] })
    }

    fn answer(&self, feed: u64) -> Answer {
        match self.request {
            Request::Issue(_) => Answer::Issued(self.refused.map_or(Ok(Issued { feed }), Err)),
            Request::Mint(_) => Answer::Minted(self.refused.map_or(Ok(()), Err)),
            Request::Use(_) => Answer::Used(self.refused.is_none()),
        }
    }
}

/// Whether a step may only count the rows it touched, or has to learn which they are.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Ask {
    Count,
    Name,
}

/// A step that only counted found that some request is refused, and cannot say which.
struct Unnamed;

/// Carries the group out and makes it durable; an error means that nothing took effect. Most groups need no names; one
/// that does is rolled back and done again.
pub(super) async fn commit(pool: &Pool, requests: &[&Request]) -> Result<Vec<Answer>, StoreError> {
    match attempt(pool, requests, Ask::Count).await? {
        Ok(answers) => Ok(answers),
        Err(Unnamed) => {
            attempt(pool, requests, Ask::Name).await?.map_err(|Unnamed| StoreError::Corrupt("an unnamed refusal"))
        }
    }
}

async fn attempt(pool: &Pool, requests: &[&Request], ask: Ask) -> Result<Result<Vec<Answer>, Unnamed>, StoreError> {
    let mut group: Vec<Entry<'_>> = requests.iter().map(|request| Entry { request, refused: None }).collect();
    let mut tx = pool.begin().await?;
    if let Err(unnamed) = use_up(&mut tx, &mut group, ask).await? {
        return Ok(Err(unnamed));
    }
    if let Err(unnamed) = redeem(&mut tx, &mut group, ask).await? {
        return Ok(Err(unnamed));
    }
    codes(&mut tx, &mut group).await?;
    // A ticket or code redeemed over budget stays used: it was one chance.
    visit(&mut tx, &mut group).await?;
    start(&mut tx, &group).await?;
    mint(&mut tx, &group).await?;
    // The number is read once, last: a token may only claim what its node can reach.
    let feed = feed::reached(&mut tx).await?;
    tx.commit().await?;
    Ok(Ok(group.iter().map(|entry| entry.answer(feed)).collect()))
}

fn all(touched: u64, rows: usize) -> Result<(), Unnamed> {
    if touched == rows as u64 { Ok(()) } else { Err(Unnamed) }
}

/// Of several requests with one assertion the first may pass.
async fn use_up(tx: &mut Tx, group: &mut [Entry<'_>], ask: Ask) -> Result<Result<(), Unnamed>, StoreError> {
    let mut firsts: BTreeMap<(&str, &str), &mut Entry<'_>> = BTreeMap::new();
    for entry in group {
        let UsedAssertion { issuer, jti, .. } = entry.assertion();
        if firsts.contains_key(&(issuer.as_str(), jti.as_str())) {
            entry.refused = Some(IssueRefusal::AssertionReplayed);
        } else {
            firsts.insert((issuer, jti), entry);
        }
    }
    let rows: Vec<_> = firsts
        .iter()
        .map(|((issuer, jti), entry)| [Bind::Text(issuer), Bind::Text(jti), Bind::Int(entry.assertion().expires_at)])
        .collect();
    if ask == Ask::Count {
        return Ok(all(USE.run(tx, &rows).await?, rows.len()));
    }
    let fresh = USE_NAMED.rows(tx, None, &rows).await?;
    let fresh = fresh.iter().map(|row| Ok((row.text(0)?, row.text(1)?)));
    let fresh = fresh.collect::<Result<HashSet<_>, StoreError>>()?;
    for ((issuer, jti), entry) in firsts {
        if !fresh.contains(&(issuer.to_owned(), jti.to_owned())) {
            entry.refused = Some(IssueRefusal::AssertionReplayed);
        }
    }
    Ok(Ok(()))
}

/// Redeems each request's ticket. A ticket that several requests name is offered to one after the other.
async fn redeem(tx: &mut Tx, group: &mut [Entry<'_>], ask: Ask) -> Result<Result<(), Unnamed>, StoreError> {
    let mut by_ticket: BTreeMap<&[u8; 32], Vec<(&NewSession, &mut Entry<'_>)>> = BTreeMap::new();
    for entry in group {
        if let Some(Issue { ticket: Some(hash), session, .. }) = entry.issue() {
            by_ticket.entry(hash).or_default().push((session, entry));
        }
    }
    let mut alone = Vec::with_capacity(by_ticket.len());
    for (hash, asking) in &by_ticket {
        if let [(session, _)] = asking.as_slice() {
            alone.push(redemption(hash, session));
        }
    }
    let redeemed = if ask == Ask::Count {
        if let Err(unnamed) = all(REDEEM.run(tx, &alone).await?, alone.len()) {
            return Ok(Err(unnamed));
        }
        None
    } else {
        let rows = REDEEM_NAMED.rows(tx, None, &alone).await?;
        Some(rows.iter().map(|row| row.bytes(0)).collect::<Result<HashSet<[u8; 32]>, _>>()?)
    };
    for (hash, mut asking) in by_ticket {
        if let [(_, entry)] = asking.as_mut_slice() {
            if redeemed.as_ref().is_some_and(|redeemed| !redeemed.contains(hash)) {
                entry.refused = Some(IssueRefusal::TicketUnusable);
            }
            continue;
        }
        for (session, entry) in asking {
            if REDEEM.run(tx, &[redemption(hash, session)]).await? == 0 {
                entry.refused = Some(IssueRefusal::TicketUnusable);
            }
        }
    }
    Ok(Ok(()))
}

/// Uses each request's authorization code up; people are few, so each is a statement of its own.
async fn codes(tx: &mut Tx, group: &mut [Entry<'_>]) -> Result<(), StoreError> {
    for entry in group {
        let Some(Issue { person: Some(person), session, .. }) = entry.issue() else { continue };
        let binds = [
            Bind::Blob(&person.code),
            Bind::Text(session.tenant.as_str()),
            Bind::Text(OnceKind::Code.as_str()),
            Bind::Int(session.created_at),
        ];
        if tx.row(TAKE, binds).await?.is_none() {
            entry.refused = Some(IssueRefusal::CodeUnusable);
        }
    }
    Ok(())
}

fn redemption<'a>(hash: &'a [u8; 32], session: &'a NewSession) -> [Bind<'a>; 6] {
    [
        Bind::Blob(hash),
        Bind::Int(session.created_at),
        Bind::Text(session.tenant.as_str()),
        Bind::Text(session.integration.as_str()),
        Bind::Text(session.task.name.as_str()),
        Bind::Blob(&session.patient_tag),
    ]
}

/// Counts the patients; refuses each request whose patient would be one too many.
async fn visit(tx: &mut Tx, group: &mut [Entry<'_>]) -> Result<(), StoreError> {
    let mut gates: BTreeSet<&str> = BTreeSet::new();
    let mut patients: BTreeMap<(&str, &[u8; 16]), (Millis, Millis)> = BTreeMap::new();
    for Visit { integration, tag, now, .. } in group.iter().filter_map(Entry::visit) {
        gates.insert(integration);
        patients.entry((integration, tag)).or_insert((now, now)).1 = now;
    }
    let rows: Vec<_> = gates.iter().map(|integration| [Bind::Text(integration)]).collect();
    GATE.run(tx, &rows).await?;
    let windows = WINDOWS.iter().zip(0_i64..);
    let rows: Vec<_> = patients
        .iter()
        .zip((0..).step_by(WINDOWS.len()))
        .flat_map(|(((integration, tag), (first, _)), at)| {
            windows.clone().map(move |(window, which)| {
                [Bind::Text(integration), Bind::Blob(*tag), Bind::Int(first - window), Bind::Int(at + which)]
            })
        })
        .collect();
    let seen: BTreeSet<usize> = numbers(&SEEN.rows(tx, None, &rows).await?)?.into_iter().collect();
    let mut inside: Inside<'_> = Default::default();
    for (patient, at) in patients.keys().zip((0..).step_by(WINDOWS.len())) {
        for (inside, which) in inside.iter_mut().zip(0..) {
            if seen.contains(&(at + which)) {
                inside.insert(*patient);
            }
        }
    }
    if inside.iter().any(|inside| inside.len() < patients.len()) {
        let mut counts = count(tx, group.iter().filter_map(Entry::visit), &inside).await?;
        for entry in group {
            let Some(Visit { integration, tag, most, .. }) = entry.visit() else { continue };
            let counts = counts.entry(integration).or_insert([u64::MAX; 2]);
            let full =
                inside.iter().zip(&*counts).zip(most).position(|((inside, count), most)| {
                    !inside.contains(&(integration, tag)) && *count >= u64::from(most)
                });
            if let Some(refusal) = full.and_then(|which| SPENT.get(which)) {
                entry.refused = Some(*refusal);
                continue;
            }
            for (inside, count) in inside.iter_mut().zip(counts) {
                *count += u64::from(inside.insert((integration, tag)));
            }
        }
    }
    let [hour, _] = &inside;
    let rows: Vec<_> = patients
        .iter()
        .filter(|(patient, _)| hour.contains(*patient))
        .map(|((integration, tag), (_, last))| [Bind::Text(integration), Bind::Blob(*tag), Bind::Int(*last)])
        .collect();
    SEE.run(tx, &rows).await?;
    Ok(())
}

/// The patients inside each window, as `(integration, tag)`; whoever is inside the hour is inside the day.
type Inside<'a> = [BTreeSet<(&'a str, &'a [u8; 16])>; 2];

/// How many patients each integration has reached in each window, for those that ask for one more.
async fn count<'a>(
    tx: &mut Tx,
    visits: impl Iterator<Item = Visit<'a>>,
    inside: &Inside<'_>,
) -> Result<BTreeMap<&'a str, [u64; 2]>, StoreError> {
    let mut asking: BTreeMap<&str, Millis> = BTreeMap::new();
    let mut most = 0;
    for visit in visits {
        if inside.iter().any(|inside| !inside.contains(&(visit.integration, visit.tag))) {
            let since = asking.entry(visit.integration).or_insert(visit.now);
            *since = visit.now.min(*since);
            most = visit.most.into_iter().fold(most, u32::max);
        }
    }
    let rows: Vec<_> = asking
        .iter()
        .flat_map(|(id, now)| WINDOWS.map(|window| [Bind::Text(id), Bind::Int(now - window)]))
        .zip(0..)
        .map(|([id, since], at)| [id, since, Bind::Int(at)])
        .collect();
    // One row more than the budget is as good as all of them.
    let found: Vec<u64> = numbers(&COUNT_SEEN.rows(tx, Some(i64::from(most) + 1), &rows).await?)?;
    let found: BTreeMap<u64, u64> = found.as_chunks().0.iter().map(|[at, count]| (*at, *count)).collect();
    // What was not counted has no room.
    let of = |at: u64| found.get(&at).copied().unwrap_or(u64::MAX);
    Ok(asking.into_keys().zip((0..).step_by(2)).map(|(id, at)| (id, [of(at), of(at + 1)])).collect())
}

/// The numbers in the first column, if it holds any.
fn numbers<T: std::str::FromStr>(rows: &[Row]) -> Result<Vec<T>, StoreError> {
    let mut all = Vec::new();
    for row in rows {
        for word in row.maybe_text(0)?.unwrap_or_default().split_ascii_whitespace() {
            all.push(word.parse().map_err(|_| StoreError::Corrupt("a number that does not parse"))?);
        }
    }
    Ok(all)
}

async fn start(tx: &mut Tx, group: &[Entry<'_>]) -> Result<(), StoreError> {
    let sessions = group.iter().filter_map(Entry::issue).map(|issue| &issue.session);
    let started: Vec<_> = sessions.map(|one| (one.id.to_string(), one.approval.to_string(), one)).collect();
    let rows: Vec<_> = started
        .iter()
        .map(|(id, approval, session)| {
            [
                Bind::Text(id),
                Bind::Text(session.tenant.as_str()),
                Bind::Text(session.integration.as_str()),
                Bind::Text(approval),
                Bind::Text(session.task.name.as_str()),
                Bind::Int(i64::from(session.task.version)),
                Bind::Int(i64::try_from(session.epoch).unwrap_or(i64::MAX)),
                Bind::Text(session.launch.as_str()),
                Bind::Blob(&session.patient_sealed),
                Bind::Blob(&session.patient_tag),
                Bind::Text(&session.scope),
                Bind::Text(&session.jti),
                Bind::Int(session.created_at),
                Bind::Int(session.expires_at),
            ]
        })
        .collect();
    START.run(tx, &rows).await?;
    for issue in group.iter().filter_map(Entry::issue) {
        if let Some(person) = &issue.person {
            let NewSession { id, tenant, created_at, .. } = &issue.session;
            person_sessions::start(tx, id, tenant, person, *created_at).await?;
        }
    }
    Ok(())
}

async fn mint(tx: &mut Tx, group: &[Entry<'_>]) -> Result<(), StoreError> {
    let rows: Vec<_> = group
        .iter()
        .filter_map(Entry::mint)
        .map(|mint| {
            let NewTicket { hash, tenant, launcher, integration, task, .. } = &mint.ticket;
            [
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
            ]
        })
        .collect();
    MINT.run(tx, &rows).await?;
    Ok(())
}
