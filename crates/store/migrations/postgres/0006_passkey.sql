-- The same as in ../sqlite, in this engine's type names.

-- Passkeys of people (WebAuthn). A person who has one signs in with it and no longer with a passphrase.
CREATE TABLE passkey (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    person TEXT NOT NULL REFERENCES person (id),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    credential BYTEA NOT NULL UNIQUE CHECK (length(credential) BETWEEN 1 AND 1023),
    public_key BYTEA NOT NULL CHECK (length(public_key) BETWEEN 1 AND 1024),
    counter BIGINT NOT NULL CHECK (counter BETWEEN 0 AND 4294967295),
    created_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX passkey_person ON passkey (person);

-- What authenticators know a person by: random, so that it tells nobody anything (WebAuthn section 14.6.1).
CREATE TABLE passkey_holder (
    person TEXT NOT NULL PRIMARY KEY REFERENCES person (id),
    handle BYTEA NOT NULL UNIQUE CHECK (length(handle) = 32)
);

-- A challenge that a browser is to answer once; who may answer is in `browser`, the hash of its cookie.
CREATE TABLE ceremony (
    challenge BYTEA NOT NULL PRIMARY KEY CHECK (length(challenge) = 32),
    kind TEXT NOT NULL CHECK (kind IN ('enrol', 'sign-in')),
    browser BYTEA NOT NULL CHECK (length(browser) = 32),
    person TEXT REFERENCES person (id),
    expires_at BIGINT NOT NULL,
    CHECK ((kind = 'enrol') = (person IS NOT NULL))
);
CREATE INDEX ceremony_expires ON ceremony (expires_at);

-- A person signed in on the pages of the admin listener.
CREATE TABLE console_session (
    hash BYTEA NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    person TEXT NOT NULL REFERENCES person (id),
    means TEXT NOT NULL CHECK (means IN ('passkey', 'passphrase', 'provider')),
    created_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    CHECK (expires_at > created_at)
);
CREATE INDEX console_session_person ON console_session (person);
CREATE INDEX console_session_expires ON console_session (expires_at);

-- A command line that waits for a person to sign in on a page. `person` is whom it was asked for, who need not exist; `code` is
-- shown at both ends; `secret` is the hash of what the command line asks with.
CREATE TABLE login_request (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    secret BYTEA NOT NULL UNIQUE CHECK (length(secret) = 32),
    person TEXT NOT NULL CHECK (length(person) BETWEEN 1 AND 129),
    code TEXT NOT NULL CHECK (length(code) = 9),
    peer TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('asked', 'granted', 'refused', 'taken')),
    expires_at BIGINT NOT NULL
);
CREATE INDEX login_request_expires ON login_request (expires_at);
