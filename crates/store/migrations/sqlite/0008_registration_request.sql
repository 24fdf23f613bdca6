-- The same as in ../postgres, in this engine's type names.

-- What somebody asks to have registered (RFC 7591). Nothing works by it: people register an integration with its id, which closes it, or
-- reject it. `peer_tag` is the keyed tag of the address it came from, to count by.
CREATE TABLE registration_request (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    tenant TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('requested', 'rejected', 'registered')),
    body TEXT NOT NULL CHECK (length(body) > 0),
    peer_tag BLOB NOT NULL CHECK (length(peer_tag) = 16),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    decided_at INTEGER,
    CHECK (expires_at > created_at),
    CHECK ((state = 'requested') = (decided_at IS NULL))
) STRICT;
CREATE INDEX registration_request_tenant ON registration_request (tenant, created_at);
CREATE INDEX registration_request_expires ON registration_request (expires_at);
