//! Forgetting what has expired, a bounded number of rows at a time, so that no purge holds the write lock for long.

use domain::Millis;

use crate::engine::{Bind, Statement};
use crate::{Store, StoreError};

/// Most rows removed from each table in one call.
const ROWS_MAX: i64 = 1_000;
/// How long an assertion, ticket, API token, export or page link's surrogate is kept after it expired: clocks of nodes may differ
/// by this much. So long at least a surrogate of an integration that has ended is.
const EXPIRED_KEPT: Millis = 10 * 60 * 1000;
/// How long a session's row is kept after its token expired; the ledger keeps what happened in it.
const SESSION_KEPT: Millis = 7 * 24 * 3_600_000;
/// How long a used code or handle is kept after its time, so that a second use is known for one: a day.
const ONCE_KEPT: Millis = 24 * 3_600_000;
/// How long a feed entry is kept: far longer than any node may lag before it stops serving.
const FEED_KEPT: Millis = 3_600_000;
/// How long a patient's tag counts, a day, and a little more.
const SEEN_KEPT: Millis = 25 * 3_600_000;

const ASSERTIONS: Statement<2> = Statement::new(
    "DELETE FROM used_assertion WHERE (issuer, jti) IN
       (SELECT issuer, jti FROM used_assertion WHERE expires_at < $1 LIMIT $2)",
);
const TICKETS: Statement<2> =
    Statement::new("DELETE FROM ticket WHERE hash IN (SELECT hash FROM ticket WHERE expires_at < $1 LIMIT $2)");
const TOKENS: Statement<2> =
    Statement::new("DELETE FROM api_token WHERE hash IN (SELECT hash FROM api_token WHERE expires_at < $1 LIMIT $2)");
const SESSIONS: Statement<2> =
    Statement::new("DELETE FROM session WHERE id IN (SELECT id FROM session WHERE expires_at < $1 LIMIT $2)");
const ONCE: Statement<2> =
    Statement::new("DELETE FROM one_time WHERE hash IN (SELECT hash FROM one_time WHERE expires_at < $1 LIMIT $2)");
const SIGN_INS: Statement<2> =
    Statement::new("DELETE FROM sign_in WHERE hash IN (SELECT hash FROM sign_in WHERE expires_at < $1 LIMIT $2)");
const REFRESHES: Statement<2> = Statement::new(
    "DELETE FROM refresh_token WHERE hash IN (SELECT hash FROM refresh_token WHERE expires_at < $1 LIMIT $2)",
);
const PERSONS: Statement<2> = Statement::new(
    "DELETE FROM person_session WHERE session IN
       (SELECT p.session FROM person_session p LEFT JOIN session s ON s.id = p.session
        WHERE s.id IS NULL AND p.used_at < $1 LIMIT $2)",
);
const EXPORTS: Statement<2> =
    Statement::new("DELETE FROM export_job WHERE id IN (SELECT id FROM export_job WHERE expires_at < $1 LIMIT $2)");
const CEREMONIES: Statement<2> = Statement::new(
    "DELETE FROM ceremony WHERE challenge IN (SELECT challenge FROM ceremony WHERE expires_at < $1 LIMIT $2)",
);
const CONSOLE: Statement<2> = Statement::new(
    "DELETE FROM console_session WHERE hash IN (SELECT hash FROM console_session WHERE expires_at < $1 LIMIT $2)",
);
const LOGINS: Statement<2> = Statement::new(
    "DELETE FROM login_request WHERE id IN (SELECT id FROM login_request WHERE expires_at < $1 LIMIT $2)",
);
const PROVIDER_CEREMONIES: Statement<2> = Statement::new(
    "DELETE FROM provider_ceremony WHERE state IN (SELECT state FROM provider_ceremony WHERE expires_at < $1 LIMIT $2)",
);
const PROVIDER: Statement<2> = Statement::new(
    "DELETE FROM provider_sign_in WHERE hash IN (SELECT hash FROM provider_sign_in WHERE expires_at < $1 LIMIT $2)",
);
const SEEN: Statement<2> = Statement::new(
    "DELETE FROM patient_seen WHERE (integration, tag) IN
       (SELECT integration, tag FROM patient_seen WHERE seen_at < $1 LIMIT $2)",
);
const SURROGATES: Statement<2> = Statement::new(
    "DELETE FROM surrogate WHERE surrogate IN (SELECT surrogate FROM surrogate WHERE expires_at < $1 LIMIT $2)",
);
const ENDED: Statement<2> = Statement::new(
    "DELETE FROM surrogate WHERE surrogate IN
       (SELECT surrogate FROM surrogate WHERE created_at < $1
          AND (tenant, integration) IN (SELECT tenant, id FROM integration WHERE status = 'ended') LIMIT $2)",
);
const FEED: Statement<2> =
    Statement::new("DELETE FROM feed_entry WHERE n IN (SELECT n FROM feed_entry WHERE at < $1 ORDER BY n LIMIT $2)");

impl Store {
    /// Removes expired rows, at most 1000 per table; `true` when more may be left.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn purge(&self, now: Millis) -> Result<bool, StoreError> {
        let mut more = false;
        let jobs = [
            (ASSERTIONS, EXPIRED_KEPT),
            (TICKETS, EXPIRED_KEPT),
            (TOKENS, EXPIRED_KEPT),
            (SESSIONS, SESSION_KEPT),
            (ONCE, ONCE_KEPT),
            (SIGN_INS, EXPIRED_KEPT),
            (REFRESHES, EXPIRED_KEPT),
            (PERSONS, SESSION_KEPT),
            (EXPORTS, EXPIRED_KEPT),
            (CEREMONIES, EXPIRED_KEPT),
            (CONSOLE, EXPIRED_KEPT),
            (LOGINS, EXPIRED_KEPT),
            (PROVIDER_CEREMONIES, EXPIRED_KEPT),
            (PROVIDER, EXPIRED_KEPT),
            (SEEN, SEEN_KEPT),
            (SURROGATES, EXPIRED_KEPT),
            (ENDED, EXPIRED_KEPT),
            (FEED, FEED_KEPT),
        ];
        for (statement, kept) in jobs {
            let mut tx = self.pool.begin().await?;
            let gone = tx.run(statement, [Bind::Int(now - kept), Bind::Int(ROWS_MAX)]).await?;
            tx.commit().await?;
            more |= i64::try_from(gone).unwrap_or(i64::MAX) >= ROWS_MAX;
        }
        Ok(more)
    }
}
