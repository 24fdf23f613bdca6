//! What the token endpoint keeps: used assertions, launch tickets and new sessions. Each one-time thing is one statement.

use domain::session::LaunchKind;
use domain::{ApprovalId, IntegrationId, Millis, SessionId, TaskName, TaskRef, TenantId};

use crate::person_sessions::NewPersonSession;
use crate::{Store, StoreError};

/// A client assertion that must never be accepted again (RFC 7523 §3, `jti`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UsedAssertion {
    /// `iss`.
    pub issuer: String,
    /// `jti`.
    pub jti: String,
    /// Until when it could be replayed.
    pub expires_at: Millis,
}

/// A session about to start.
#[derive(Clone, Eq, PartialEq)]
pub struct NewSession {
    /// `sid`.
    pub id: SessionId,
    /// In which tenant.
    pub tenant: TenantId,
    /// For which integration.
    pub integration: IntegrationId,
    /// Under which approval.
    pub approval: ApprovalId,
    /// On which task.
    pub task: TaskRef,
    /// The integration's epoch.
    pub epoch: u64,
    /// What established the patient.
    pub launch: LaunchKind,
    /// The patient, sealed.
    pub patient_sealed: Vec<u8>,
    /// The patient's keyed tag.
    pub patient_tag: [u8; 16],
    /// The granted scope.
    pub scope: String,
    /// The access token's `jti`.
    pub jti: String,
    /// When.
    pub created_at: Millis,
    /// When its token expires.
    pub expires_at: Millis,
}

impl std::fmt::Debug for NewSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewSession({} of {}, [sealed])", self.id, self.integration)
    }
}

/// One token request, all or nothing apart from the assertion, which stays used whatever becomes of the rest.
#[derive(Clone, Debug)]
pub struct Issue {
    /// The client assertion.
    pub assertion: UsedAssertion,
    /// Hash of the launch ticket it redeems.
    pub ticket: Option<[u8; 32]>,
    /// The session it starts.
    pub session: NewSession,
    /// What it has beside, where a person took part.
    pub person: Option<Box<NewPersonSession>>,
    /// Distinct patients its integration may reach in an hour.
    pub patients_per_hour: u32,
    /// And in a day.
    pub patients_per_day: u32,
}

/// A launch ticket about to be minted; `hash` is SHA-256 of the ticket.
#[derive(Clone, Eq, PartialEq)]
pub struct NewTicket {
    /// SHA-256 of the ticket.
    pub hash: [u8; 32],
    /// In which tenant.
    pub tenant: TenantId,
    /// Who mints it.
    pub launcher: IntegrationId,
    /// Who may redeem it.
    pub integration: IntegrationId,
    /// For which task.
    pub task: TaskName,
    /// The patient, sealed.
    pub patient_sealed: Vec<u8>,
    /// The patient's keyed tag.
    pub patient_tag: [u8; 16],
    /// The encounter, sealed.
    pub encounter_sealed: Option<Vec<u8>>,
    /// When.
    pub created_at: Millis,
    /// When it expires: at most 300 s later.
    pub expires_at: Millis,
}

impl std::fmt::Debug for NewTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewTicket({} for {}, [sealed])", self.launcher, self.integration)
    }
}

/// One mint request.
#[derive(Clone, Debug)]
pub struct Mint {
    /// The launcher's assertion.
    pub assertion: UsedAssertion,
    /// The ticket.
    pub ticket: NewTicket,
    /// Distinct patients the launcher may name in an hour.
    pub patients_per_hour: u32,
    /// And in a day.
    pub patients_per_day: u32,
}

/// A ticket as it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ticket {
    /// What was minted.
    pub ticket: NewTicket,
    /// When it was redeemed.
    pub used_at: Option<Millis>,
}

/// A session was started.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Issued {
    /// The feed number the database had reached; the token carries it.
    pub feed: u64,
}

/// Why a request was refused; the assertion is used up in every case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IssueRefusal {
    /// The assertion was used before.
    AssertionReplayed,
    /// The ticket is unknown, used, expired, or another integration's, task's or patient's.
    TicketUnusable,
    /// The authorization code is unknown, used or expired.
    CodeUnusable,
    /// The integration has reached its distinct patients for this hour.
    PatientBudgetSpent,
    /// The integration has reached its distinct patients for this day.
    PatientDayBudgetSpent,
}

impl Store {
    /// The ticket whose SHA-256 is `hash`, used or not; in one query with whatever else is looked up at the moment.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn find_ticket(&self, hash: &[u8; 32]) -> Result<Option<Ticket>, StoreError> {
        self.finder.find(hash).await
    }

    /// Starts a session: uses the assertion, counts the patient, redeems the ticket and inserts the session, in one
    /// durable transaction shared with whatever else waits at the moment.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails; then nothing took effect. A refusal is a value.
    pub async fn issue(&self, issue: Issue) -> Result<Result<Issued, IssueRefusal>, StoreError> {
        self.writer.issue(issue).await
    }

    /// Mints a launch ticket in the same way.
    ///
    /// # Errors
    /// As [`Store::issue`].
    pub async fn mint(&self, mint: Mint) -> Result<Result<(), IssueRefusal>, StoreError> {
        self.writer.mint(mint).await
    }

    /// Uses an assertion up; `false` when it was used before.
    ///
    /// # Errors
    /// As [`Store::issue`].
    pub async fn use_assertion(&self, assertion: UsedAssertion) -> Result<bool, StoreError> {
        self.writer.use_assertion(assertion).await
    }
}
