-- The same as in ../postgres, in this engine's type names.

-- An export takes two approvers besides the requester (S1-12); the first is kept here until the second decides.
ALTER TABLE approval ADD COLUMN first_approved_by TEXT
    CHECK (first_approved_by IS NULL
           OR (first_approved_by <> requested_by AND (approved_by IS NULL OR first_approved_by <> approved_by)));

-- A session may be of a population; SQLite cannot change a CHECK in place.
CREATE TABLE session_next (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    tenant TEXT NOT NULL,
    integration TEXT NOT NULL,
    approval TEXT NOT NULL,
    task TEXT NOT NULL,
    version INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    launch TEXT NOT NULL CHECK (launch IN ('ticket', 'relationship', 'export')),
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

-- Jobs of bulk export. Where the upstream's job is, its members and its files are in `sealed`.
CREATE TABLE export_job (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    tenant TEXT NOT NULL,
    integration TEXT NOT NULL,
    approval TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('accepted', 'complete', 'cancelled')),
    sealed BLOB NOT NULL CHECK (length(sealed) > 0),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    CHECK (expires_at > created_at)
) STRICT;
CREATE INDEX export_job_integration ON export_job (integration, expires_at);
CREATE INDEX export_job_expires ON export_job (expires_at);
