-- The same as in ../sqlite, in this engine's type names.

-- Roles of AI services: what the integrations that name one may not do. A role is replaced whole.
CREATE TABLE service_role (
    tenant TEXT NOT NULL CHECK (length(tenant) BETWEEN 1 AND 40),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    revision BIGINT NOT NULL CHECK (revision > 0),
    body TEXT NOT NULL,
    PRIMARY KEY (tenant, name)
);

-- What stands in place of ids in de-identified sessions: random, one table for each tenant, integration and patient.
-- Originals are found by keyed tag and are sealed; rows that expire stand for page links.
CREATE TABLE surrogate (
    surrogate TEXT NOT NULL PRIMARY KEY CHECK (length(surrogate) = 36),
    tenant TEXT NOT NULL,
    integration TEXT NOT NULL,
    patient_tag BYTEA NOT NULL CHECK (length(patient_tag) = 16),
    original_tag BYTEA NOT NULL CHECK (length(original_tag) = 16),
    original_sealed BYTEA NOT NULL CHECK (length(original_sealed) > 0),
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    UNIQUE (tenant, integration, patient_tag, original_tag)
);
CREATE INDEX surrogate_expires ON surrogate (expires_at) WHERE expires_at IS NOT NULL;

-- The feed has one kind more. Which kinds there are is the program's to say: a node that reads one it does not know stops.
CREATE TABLE feed_entry_open (
    n BIGINT NOT NULL PRIMARY KEY CHECK (n > 0),
    kind TEXT NOT NULL CHECK (length(kind) BETWEEN 1 AND 40),
    key TEXT NOT NULL,
    at BIGINT NOT NULL
);
INSERT INTO feed_entry_open (n, kind, key, at) SELECT n, kind, key, at FROM feed_entry;
DROP TABLE feed_entry;
ALTER TABLE feed_entry_open RENAME TO feed_entry;
