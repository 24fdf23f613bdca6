-- The same as in ../sqlite, in this engine's type names.

-- The upstream's own token of a session that the EHR launched: used for that session, refreshed by one node at a time, and revoked
-- when the session is over. `revision` counts its tokens; `claimed_until` is the time until which one node works on it.
CREATE TABLE upstream_grant (
    session TEXT NOT NULL PRIMARY KEY CHECK (length(session) = 32),
    tenant TEXT NOT NULL,
    sealed BYTEA NOT NULL CHECK (length(sealed) > 0),
    revision BIGINT NOT NULL CHECK (revision > 0),
    expires_at BIGINT NOT NULL,
    claimed_until BIGINT NOT NULL,
    attempts BIGINT NOT NULL CHECK (attempts >= 0)
);
CREATE INDEX upstream_grant_expires ON upstream_grant (expires_at);
