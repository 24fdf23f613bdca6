-- The same as in ../postgres, in this engine's type names.

-- An organisation's policies: one text for each tenant, replaced whole. The newest revision is in force; the others stay, since
-- records name the one they were made by. A tenant without a row has the shipped ones.
CREATE TABLE policy (
    tenant TEXT NOT NULL CHECK (length(tenant) BETWEEN 1 AND 40),
    revision INTEGER NOT NULL CHECK (revision > 0),
    body TEXT NOT NULL CHECK (length(body) <= 65536),
    PRIMARY KEY (tenant, revision)
) STRICT;

-- The feed has one kind more; SQLite cannot change a CHECK in place.
CREATE TABLE feed_entry_next (
    n INTEGER NOT NULL PRIMARY KEY CHECK (n > 0),
    kind TEXT NOT NULL CHECK (kind IN ('integration', 'profile', 'approval', 'filter', 'session-ended', 'key', 'policy')),
    key TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
INSERT INTO feed_entry_next (n, kind, key, at) SELECT n, kind, key, at FROM feed_entry;
DROP TABLE feed_entry;
ALTER TABLE feed_entry_next RENAME TO feed_entry;
