-- The same schema as ../postgres, in SQLite's type names; `tests/schema.rs` compares the two texts.
-- Times are milliseconds since the epoch; flags are 0 or 1; ids are text.

-- The change feed: its number is taken by UPDATE in the change's own transaction, so numbers commit in order.
CREATE TABLE feed (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    n INTEGER NOT NULL CHECK (n >= 0)
) STRICT;
INSERT INTO feed (id, n) VALUES (1, 0);

CREATE TABLE feed_entry (
    n INTEGER NOT NULL PRIMARY KEY CHECK (n > 0),
    kind TEXT NOT NULL CHECK (kind IN ('integration', 'profile', 'approval', 'filter', 'session-ended', 'key')),
    key TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;

CREATE TABLE integration (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    tenant TEXT NOT NULL CHECK (length(tenant) BETWEEN 1 AND 40),
    status TEXT NOT NULL CHECK (status IN ('active', 'suspended', 'ended')),
    epoch INTEGER NOT NULL CHECK (epoch >= 0),
    revision INTEGER NOT NULL CHECK (revision > 0),
    body TEXT NOT NULL,
    UNIQUE (id, tenant)
) STRICT;

-- A key belongs to one integration in one environment for ever (S1-33, S2-09, S2-15).
CREATE TABLE key_thumbprint (
    thumbprint TEXT NOT NULL PRIMARY KEY CHECK (length(thumbprint) = 43),
    integration TEXT NOT NULL,
    tenant TEXT NOT NULL,
    environment TEXT NOT NULL CHECK (environment IN ('production', 'test')),
    FOREIGN KEY (integration, tenant) REFERENCES integration (id, tenant)
) STRICT;

-- Versions are immutable: there is no statement that updates a row.
CREATE TABLE task_profile (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 40),
    version INTEGER NOT NULL CHECK (version BETWEEN 1 AND 4294967295),
    body TEXT NOT NULL,
    PRIMARY KEY (tenant, name, version)
) STRICT;

CREATE TABLE approval (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    tenant TEXT NOT NULL,
    integration TEXT NOT NULL,
    task TEXT NOT NULL,
    version INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('requested', 'approved', 'suspended', 'rejected', 'ended')),
    requested_by TEXT NOT NULL,
    approved_by TEXT,
    until INTEGER,
    digest TEXT NOT NULL CHECK (length(digest) = 64),
    revision INTEGER NOT NULL CHECK (revision > 0),
    body TEXT NOT NULL,
    FOREIGN KEY (integration, tenant) REFERENCES integration (id, tenant),
    FOREIGN KEY (tenant, task, version) REFERENCES task_profile (tenant, name, version),
    -- S0-05: requester and approver are two people. S2-25: an approval in force has an end.
    CHECK (approved_by IS NULL OR approved_by <> requested_by),
    CHECK (status <> 'approved' OR (approved_by IS NOT NULL AND until IS NOT NULL))
) STRICT;

CREATE TABLE person (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) BETWEEN 3 AND 129),
    name TEXT NOT NULL,
    disabled_at INTEGER,
    revision INTEGER NOT NULL CHECK (revision > 0),
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE credential (
    person TEXT NOT NULL PRIMARY KEY REFERENCES person (id),
    hash TEXT NOT NULL CHECK (length(hash) > 20),
    changed_at INTEGER NOT NULL
) STRICT;

-- `tenant` is a tenant id, or * for every tenant.
CREATE TABLE role_grant (
    person TEXT NOT NULL REFERENCES person (id),
    tenant TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('operator', 'privacy-officer', 'auditor')),
    granted_by TEXT NOT NULL,
    granted_at INTEGER NOT NULL,
    PRIMARY KEY (person, tenant, role)
) STRICT;
-- Nobody is both in one tenant; the statement that inserts also looks through *.
CREATE UNIQUE INDEX role_grant_duty ON role_grant (person, tenant) WHERE role IN ('operator', 'privacy-officer');

CREATE TABLE api_token (
    hash BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    person TEXT NOT NULL REFERENCES person (id),
    created_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    CHECK (expires_at > created_at)
) STRICT;
CREATE INDEX api_token_person ON api_token (person);
CREATE INDEX api_token_expires ON api_token (expires_at);

CREATE TABLE init_credential (
    hash BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER,
    CHECK (expires_at > created_at)
) STRICT;

CREATE TABLE session (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    tenant TEXT NOT NULL,
    integration TEXT NOT NULL,
    approval TEXT NOT NULL,
    task TEXT NOT NULL,
    version INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    launch TEXT NOT NULL CHECK (launch IN ('ticket', 'relationship')),
    patient_sealed BLOB NOT NULL,
    patient_tag BLOB NOT NULL CHECK (length(patient_tag) = 16),
    scope TEXT NOT NULL,
    jti TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at INTEGER,
    ended_by TEXT,
    CHECK (expires_at > created_at),
    CHECK ((ended_at IS NULL) = (ended_by IS NULL))
) STRICT;
CREATE INDEX session_tenant ON session (tenant, created_at);
CREATE INDEX session_integration ON session (integration, created_at);
CREATE INDEX session_patient ON session (tenant, patient_tag);
CREATE INDEX session_expires ON session (expires_at);
CREATE INDEX session_ended ON session (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE ticket (
    hash BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    tenant TEXT NOT NULL,
    launcher TEXT NOT NULL,
    integration TEXT NOT NULL,
    task TEXT NOT NULL,
    patient_sealed BLOB NOT NULL,
    patient_tag BLOB NOT NULL CHECK (length(patient_tag) = 16),
    encounter_sealed BLOB,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER,
    CHECK (launcher <> integration),
    CHECK (expires_at > created_at AND expires_at <= created_at + 300000)
) STRICT;
CREATE INDEX ticket_expires ON ticket (expires_at);

CREATE TABLE used_assertion (
    issuer TEXT NOT NULL,
    jti TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (issuer, jti)
) STRICT;
CREATE INDEX used_assertion_expires ON used_assertion (expires_at);

-- Distinct patients per integration, launcher or agent, in the hour that ends now; by keyed tag, never by id.
CREATE TABLE patient_seen (
    integration TEXT NOT NULL,
    tag BLOB NOT NULL CHECK (length(tag) = 16),
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (integration, tag)
) STRICT;
CREATE INDEX patient_seen_at ON patient_seen (integration, seen_at);

-- One row per integration: taking it serialises the count above between nodes.
CREATE TABLE patient_gate (
    integration TEXT NOT NULL PRIMARY KEY,
    n INTEGER NOT NULL
) STRICT;

CREATE TABLE wrapped_key (
    kid TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    purpose TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    retired_at INTEGER,
    wrapped BLOB NOT NULL CHECK (length(wrapped) > 0)
) STRICT;
CREATE INDEX wrapped_key_purpose ON wrapped_key (tenant, purpose);

-- What an upstream is known to filter by; absent means nothing is known.
CREATE TABLE filter_state (
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    param TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('declared', 'proved', 'poisoned')),
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, kind, param)
) STRICT;

-- The last ledger index this database knows of, per node: an older backup shows itself.
CREATE TABLE ledger_mark (
    node TEXT NOT NULL PRIMARY KEY,
    last INTEGER NOT NULL CHECK (last >= 0),
    at INTEGER NOT NULL
) STRICT;
