-- The same as in ../postgres, in this engine's type names.

-- Who a person is at an identity provider. Such people have neither passphrase nor passkey, and no standing roles.
CREATE TABLE person_identity (
    person TEXT NOT NULL PRIMARY KEY REFERENCES person (id),
    issuer TEXT NOT NULL CHECK (length(issuer) BETWEEN 1 AND 2048),
    subject TEXT NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
    UNIQUE (issuer, subject)
) STRICT;

-- A sign-in under way at an identity provider: by the hash of its `state`, for one browser, once. What must be kept is sealed.
CREATE TABLE provider_ceremony (
    state BLOB NOT NULL PRIMARY KEY CHECK (length(state) = 32),
    browser BLOB NOT NULL CHECK (length(browser) = 32),
    place TEXT NOT NULL,
    request TEXT NOT NULL,
    pending BLOB NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX provider_ceremony_expires ON provider_ceremony (expires_at);

-- What a sign-in at an identity provider gave for its own life: roles, as JSON, of the page session, waiting command line or API
-- token whose secret has this hash.
CREATE TABLE provider_sign_in (
    hash BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    person TEXT NOT NULL REFERENCES person (id),
    place TEXT NOT NULL,
    sid TEXT,
    roles TEXT NOT NULL,
    hint BLOB NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX provider_sign_in_person ON provider_sign_in (person);
CREATE INDEX provider_sign_in_expires ON provider_sign_in (expires_at);
