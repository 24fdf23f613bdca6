-- The same schema as ../sqlite, in PostgreSQL's type names; `tests/schema.rs` compares the two texts.
-- Times are milliseconds since the epoch; flags are 0 or 1; ids are text.

-- The change feed: its number is taken by UPDATE in the change's own transaction, so numbers commit in order.
CREATE TABLE feed (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    n BIGINT NOT NULL CHECK (n >= 0)
);
INSERT INTO feed (id, n) VALUES (1, 0);

CREATE TABLE feed_entry (
    n BIGINT NOT NULL PRIMARY KEY CHECK (n > 0),
    kind TEXT NOT NULL CHECK (kind IN ('integration', 'profile', 'approval', 'filter', 'session-ended', 'key')),
    key TEXT NOT NULL,
    at BIGINT NOT NULL
);

CREATE TABLE integration (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    tenant TEXT NOT NULL CHECK (length(tenant) BETWEEN 1 AND 40),
    status TEXT NOT NULL CHECK (status IN ('active', 'suspended', 'ended')),
    epoch BIGINT NOT NULL CHECK (epoch >= 0),
    revision BIGINT NOT NULL CHECK (revision > 0),
    body TEXT NOT NULL,
    UNIQUE (id, tenant)
);

-- A key belongs to one integration in one environment for ever (S1-33, S2-09, S2-15).
CREATE TABLE key_thumbprint (
    thumbprint TEXT NOT NULL PRIMARY KEY CHECK (length(thumbprint) = 43),
    integration TEXT NOT NULL,
    tenant TEXT NOT NULL,
    environment TEXT NOT NULL CHECK (environment IN ('production', 'test')),
    FOREIGN KEY (integration, tenant) REFERENCES integration (id, tenant)
);

-- Versions are immutable: there is no statement that updates a row.
CREATE TABLE task_profile (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 40),
    version BIGINT NOT NULL CHECK (version BETWEEN 1 AND 4294967295),
    body TEXT NOT NULL,
    PRIMARY KEY (tenant, name, version)
);

CREATE TABLE approval (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    tenant TEXT NOT NULL,
    integration TEXT NOT NULL,
    task TEXT NOT NULL,
    version BIGINT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('requested', 'approved', 'suspended', 'rejected', 'ended')),
    requested_by TEXT NOT NULL,
    approved_by TEXT,
    until BIGINT,
    digest TEXT NOT NULL CHECK (length(digest) = 64),
    revision BIGINT NOT NULL CHECK (revision > 0),
    body TEXT NOT NULL,
    FOREIGN KEY (integration, tenant) REFERENCES integration (id, tenant),
    FOREIGN KEY (tenant, task, version) REFERENCES task_profile (tenant, name, version),
    -- S0-05: requester and approver are two people. S2-25: an approval in force has an end.
    CHECK (approved_by IS NULL OR approved_by <> requested_by),
    CHECK (status <> 'approved' OR (approved_by IS NOT NULL AND until IS NOT NULL))
);

CREATE TABLE person (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) BETWEEN 3 AND 129),
    name TEXT NOT NULL,
    disabled_at BIGINT,
    revision BIGINT NOT NULL CHECK (revision > 0),
    created_at BIGINT NOT NULL
);

CREATE TABLE credential (
    person TEXT NOT NULL PRIMARY KEY REFERENCES person (id),
    hash TEXT NOT NULL CHECK (length(hash) > 20),
    changed_at BIGINT NOT NULL
);

-- `tenant` is a tenant id, or * for every tenant.
CREATE TABLE role_grant (
    person TEXT NOT NULL REFERENCES person (id),
    tenant TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('operator', 'privacy-officer', 'auditor')),
    granted_by TEXT NOT NULL,
    granted_at BIGINT NOT NULL,
    PRIMARY KEY (person, tenant, role)
);
-- Nobody is both in one tenant; the statement that inserts also looks through *.
CREATE UNIQUE INDEX role_grant_duty ON role_grant (person, tenant) WHERE role IN ('operator', 'privacy-officer');

CREATE TABLE api_token (
    hash BYTEA NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    person TEXT NOT NULL REFERENCES person (id),
    created_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    CHECK (expires_at > created_at)
);
CREATE INDEX api_token_person ON api_token (person);
CREATE INDEX api_token_expires ON api_token (expires_at);

CREATE TABLE init_credential (
    hash BYTEA NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    CHECK (expires_at > created_at)
);

CREATE TABLE session (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    tenant TEXT NOT NULL,
    integration TEXT NOT NULL,
    approval TEXT NOT NULL,
    task TEXT NOT NULL,
    version BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    launch TEXT NOT NULL CHECK (launch IN ('ticket', 'relationship')),
    patient_sealed BYTEA NOT NULL,
    patient_tag BYTEA NOT NULL CHECK (length(patient_tag) = 16),
    scope TEXT NOT NULL,
    jti TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT,
    ended_by TEXT,
    CHECK (expires_at > created_at),
    CHECK ((ended_at IS NULL) = (ended_by IS NULL))
);
CREATE INDEX session_tenant ON session (tenant, created_at);
CREATE INDEX session_integration ON session (integration, created_at);
CREATE INDEX session_patient ON session (tenant, patient_tag);
CREATE INDEX session_expires ON session (expires_at);
CREATE INDEX session_ended ON session (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE ticket (
    hash BYTEA NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    tenant TEXT NOT NULL,
    launcher TEXT NOT NULL,
    integration TEXT NOT NULL,
    task TEXT NOT NULL,
    patient_sealed BYTEA NOT NULL,
    patient_tag BYTEA NOT NULL CHECK (length(patient_tag) = 16),
    encounter_sealed BYTEA,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    CHECK (launcher <> integration),
    CHECK (expires_at > created_at AND expires_at <= created_at + 300000)
);
CREATE INDEX ticket_expires ON ticket (expires_at);

CREATE TABLE used_assertion (
    issuer TEXT NOT NULL,
    jti TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, jti)
);
CREATE INDEX used_assertion_expires ON used_assertion (expires_at);

-- Distinct patients per integration, launcher or agent, in the hour that ends now; by keyed tag, never by id.
CREATE TABLE patient_seen (
    integration TEXT NOT NULL,
    tag BYTEA NOT NULL CHECK (length(tag) = 16),
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (integration, tag)
);
CREATE INDEX patient_seen_at ON patient_seen (integration, seen_at);

-- One row per integration: taking it serialises the count above between nodes.
CREATE TABLE patient_gate (
    integration TEXT NOT NULL PRIMARY KEY,
    n BIGINT NOT NULL
);

CREATE TABLE wrapped_key (
    kid TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    purpose TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    retired_at BIGINT,
    wrapped BYTEA NOT NULL CHECK (length(wrapped) > 0)
);
CREATE INDEX wrapped_key_purpose ON wrapped_key (tenant, purpose);

-- What an upstream is known to filter by; absent means nothing is known.
CREATE TABLE filter_state (
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    param TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('declared', 'proved', 'poisoned')),
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, kind, param)
);

-- The last ledger index this database knows of, per node: an older backup shows itself.
CREATE TABLE ledger_mark (
    node TEXT NOT NULL PRIMARY KEY,
    last BIGINT NOT NULL CHECK (last >= 0),
    at BIGINT NOT NULL
);
