-- The same as in ../postgres, in this engine's type names.

-- Sessions with a person: two more kinds of launch; SQLite cannot change a CHECK in place. A session that may be refreshed ends
-- later than its newest token.
CREATE TABLE session_next (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    tenant TEXT NOT NULL,
    integration TEXT NOT NULL,
    approval TEXT NOT NULL,
    task TEXT NOT NULL,
    version INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    launch TEXT NOT NULL CHECK (launch IN ('ticket', 'relationship', 'export', 'ehr', 'standalone')),
    patient_sealed BLOB NOT NULL,
    patient_tag BLOB NOT NULL CHECK (length(patient_tag) = 16),
    scope TEXT NOT NULL,
    jti TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at INTEGER,
    ended_by TEXT,
    CHECK (expires_at > created_at),
    CHECK (launch <> 'export' OR expires_at <= created_at + 300000),
    CHECK ((ended_at IS NULL) = (ended_by IS NULL))
) STRICT;
INSERT INTO session_next
    (id, tenant, integration, approval, task, version, epoch, launch, patient_sealed, patient_tag, scope, jti,
     created_at, expires_at, ended_at, ended_by)
    SELECT id, tenant, integration, approval, task, version, epoch, launch, patient_sealed, patient_tag, scope, jti,
           created_at, expires_at, ended_at, ended_by
    FROM session;
DROP TABLE session;
ALTER TABLE session_next RENAME TO session;
CREATE INDEX session_tenant ON session (tenant, created_at);
CREATE INDEX session_integration ON session (integration, created_at);
CREATE INDEX session_patient ON session (tenant, patient_tag);
CREATE INDEX session_expires ON session (expires_at);
CREATE INDEX session_ended ON session (ended_at) WHERE ended_at IS NOT NULL;

-- Whatever may be used once: authorization codes, launch handles, pushed requests, what waits for a person. Only hashes of the
-- handles are here; what they stand for is sealed. A used row is kept a while, so that a second use is known for one.
CREATE TABLE one_time (
    hash BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (length(kind) BETWEEN 1 AND 20),
    sealed BLOB NOT NULL CHECK (length(sealed) > 0),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER,
    CHECK (expires_at > created_at)
) STRICT;
CREATE INDEX one_time_expires ON one_time (expires_at);

-- A person at a browser, by the hash of a cookie. Who it is, is sealed; the tag finds all of one person.
CREATE TABLE sign_in (
    hash BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    tenant TEXT NOT NULL,
    person_tag BLOB NOT NULL CHECK (length(person_tag) = 16),
    sealed BLOB NOT NULL CHECK (length(sealed) > 0),
    created_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at INTEGER,
    CHECK (expires_at > created_at)
) STRICT;
CREATE INDEX sign_in_person ON sign_in (tenant, person_tag);
CREATE INDEX sign_in_expires ON sign_in (expires_at);

-- What a session with a person has beside what every session has. `sign_in` is set where it ends with the sign-in; `idle_at` is
-- when it ends unless it is refreshed before.
CREATE TABLE person_session (
    session TEXT NOT NULL PRIMARY KEY CHECK (length(session) = 32),
    tenant TEXT NOT NULL,
    person_tag BLOB NOT NULL CHECK (length(person_tag) = 16),
    sign_in BLOB CHECK (sign_in IS NULL OR length(sign_in) = 32),
    sealed BLOB NOT NULL CHECK (length(sealed) > 0),
    used_at INTEGER NOT NULL,
    idle_at INTEGER
) STRICT;
CREATE INDEX person_session_person ON person_session (tenant, person_tag);
CREATE INDEX person_session_sign_in ON person_session (sign_in) WHERE sign_in IS NOT NULL;
CREATE INDEX person_session_idle ON person_session (idle_at) WHERE idle_at IS NOT NULL;

-- Refresh tokens, by hash. All of one session are one family.
CREATE TABLE refresh_token (
    hash BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    session TEXT NOT NULL CHECK (length(session) = 32),
    created_at INTEGER NOT NULL,
    used_at INTEGER,
    expires_at INTEGER NOT NULL,
    CHECK (expires_at > created_at)
) STRICT;
CREATE INDEX refresh_token_session ON refresh_token (session);
CREATE INDEX refresh_token_expires ON refresh_token (expires_at);
