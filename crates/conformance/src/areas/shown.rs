//! Requirements that rows of other names show: so that the table has a line for each, without sending anything twice.

/// A requirement, its clause, and the rows that show it; it is as good as the worst of them.
pub struct Shown {
    /// The requirement.
    pub id: &'static str,
    /// Its clause.
    pub clause: &'static str,
    /// What it asks.
    pub expects: &'static str,
    /// The rows.
    pub by: &'static [&'static str],
}

const fn shown(id: &'static str, clause: &'static str, expects: &'static str, by: &'static [&'static str]) -> Shown {
    Shown { id, clause, expects, by }
}

/// All of them, in the order of the requirement list.
pub const SHOWN: &[Shown] = &[
    shown(
        "DISC-19",
        "SMART App Launch 2.2, Conformance; R352-R371",
        "a listed capability works",
        &["AZ-05", "TK-04", "CA-01", "OI-01", "SC-03"],
    ),
    shown(
        "REG-04",
        "SMART App Launch 2.2, Backend Services; R240 R250",
        "the registered scopes are the ceiling",
        &["BE-02"],
    ),
    shown("REG-06", "RFC 7591 §3", "registration is never open", &["DISC-16"]),
    shown("REG-08", "OAuth 2.1", "no secret and no client_credentials for public clients", &["NEG-068", "NEG-074"]),
    shown("AZ-01", "SMART App Launch 2.2, App Launch; R48 R49", "GET and POST", &["AZ-05", "NEG-033"]),
    shown("AZ-04", "RFC 7636; R14 R15", "S256, never plain", &["NEG-024", "NEG-025", "TK-02"]),
    shown(
        "AZ-06",
        "SMART App Launch 2.2, App Launch; R55 R58",
        "a code is short-lived, used once and bound",
        &["NEG-060", "NEG-062", "NEG-063", "NEG-064", "NEG-225"],
    ),
    shown("AZ-07", "SMART App Launch 2.2, App Launch; R54", "refusals come back as OAuth errors", &["NEG-039"]),
    shown("AZ-08", "RFC 6749 §4.1.2.1", "no redirect where client or URI is invalid", &["NEG-020", "NEG-021"]),
    shown("AZ-09", "RFC 9700 §2.1", "redirect URIs are compared exactly", &["NEG-020"]),
    shown("AZ-10", "RFC 6749 §3.1", "unknown ignored, repeated refused, empty is absent", &["NEG-031", "NEG-032"]),
    shown("AZ-12", "RFC 9207", "iss in every response", &["NEG-037", "NEG-039"]),
    shown("AZ-14", "RFC 9700 §4.12", "303 after a credential", &["NEG-036"]),
    shown("AZ-15", "RFC 9700 §4.16", "frames are refused", &["NEG-034"]),
    shown("AZ-16", "RFC 9700 §4.2", "no referrer, nothing from elsewhere", &["NEG-034"]),
    shown("AZ-17", "RFC 9700 §2.1.2, §2.4", "no implicit, hybrid, password", &["NEG-026", "NEG-073", "DISC-06"]),
    shown("AZ-18", "OpenID Connect Core §3.1.2.1", "prompt=none", &["NEG-038"]),
    shown("AZ-19", "Inferno SMART App Launch kit", "parameters are added to the URL of the metadata", &["AZ-05"]),
    shown(
        "LN-03",
        "ours",
        "handles are used once, short-lived and bound",
        &["NEG-043", "NEG-043a", "NEG-045", "NEG-061t"],
    ),
    shown(
        "TK-01",
        "SMART App Launch 2.2, App Launch, request-5; R31",
        "the form of the exchange",
        &["TK-04", "TK-13", "NEG-067"],
    ),
    shown("TK-03", "RFC 9700 §4.8.2", "no PKCE downgrade", &["NEG-066"]),
    shown(
        "TK-05",
        "SMART App Launch 2.2, App Launch; R86 R87",
        "no-store and no-cache",
        &["TK-04", "BE-04", "RF-04", "NEG-075"],
    ),
    shown("TK-06", "SMART App Launch 2.2, App Launch; R91", "at most an hour", &["TK-04", "JAT-01"]),
    shown("TK-08", "RFC 6749 §4.1.2", "a replayed code kills", &["NEG-060", "NEG-061"]),
    shown("TK-09", "RFC 6749 §4.1.3", "redirect URI and client fit the code", &["NEG-063", "NEG-064"]),
    shown(
        "RF-02",
        "SMART App Launch 2.2, App Launch, refresh; R103 R104",
        "bound to its client, never wider",
        &["NEG-162", "NEG-163"],
    ),
    shown("RF-05", "SMART App Launch 2.2, App Launch, refresh; R118", "context is kept", &["RF-04"]),
    shown(
        "RF-08",
        "RFC 9700 §2.2.2, §4.14",
        "rotation with family revocation, or bound",
        &["NEG-160", "NEG-161", "NEG-061r", "NEG-223"],
    ),
    shown("SC-01", "SMART App Launch 2.2, Scopes", "the grammar", &["DISC-10", "NEG-190"]),
    shown("SC-02", "SMART App Launch 2.2, Scopes; R123", "what the letters open", &["NEG-197"]),
    shown("SC-04", "SMART App Launch 2.2, Scopes; R129", "never a guess", &["NEG-190", "NEG-030"]),
    shown("SC-05", "SMART App Launch 2.2, Scopes; R130", "each entry of a batch on its own", &["NEG-200"]),
    shown("SC-06", "SMART App Launch 2.2, Scopes", "search parameters in scopes", &["NEG-192", "NEG-193", "NEG-195"]),
    shown("SC-08", "SMART App Launch 2.2, Scopes; R79 R145", "what is granted is told", &["SC-17", "NEG-040"]),
    shown(
        "SC-10",
        "SMART App Launch 2.2, Scopes; R136 R140 R142",
        "patient/ is the one patient in context",
        &["NEG-206", "NEG-207"],
    ),
    shown("SC-13", "(g)(10) kit", "patient/ and user/ together", &["NEG-196"]),
    shown("SC-16", "US Core 6, 7; HTI-1", "the categories", &["SC-17", "NEG-195"]),
    shown("SC-18", "ours", "what cannot be enforced is not granted", &["NEG-192", "NEG-193"]),
    shown("CX-04", "SMART App Launch 2.2, Scopes; R173-R176", "types of the context members", &["CX-03"]),
    shown("CX-05", "SMART App Launch 2.2, Scopes; R172-R192", "fhirContext", &["CX-03"]),
    shown("CX-07", "SMART App Launch 2.2, Scopes; R167", "a picker in standalone launch", &["CX-09"]),
    shown(
        "BE-01",
        "SMART App Launch 2.2, Backend Services; R344",
        "client_credentials by assertion alone",
        &["BE-04", "NEG-074"],
    ),
    shown("BE-05", "SMART App Launch 2.2, Backend Services; R261 R262", "short-lived", &["NEG-170"]),
    shown("BE-06", "SMART App Launch 2.2, Backend Services; R248", "no refresh token", &["NEG-170"]),
    shown("BE-08", "SMART App Launch 2.2, Backend Services; R231", "TLS 1.2 at least", &["US-07"]),
    shown("BE-09", "SMART App Launch 2.2, Backend Services; R243-R247", "what is not granted is refused", &["RS-02a"]),
    shown(
        "CA-02",
        "SMART App Launch 2.2, Client Authentication: Asymmetric",
        "the claims",
        &["NEG-100", "NEG-101", "NEG-103", "NEG-106"],
    ),
    shown(
        "CA-03",
        "RFC 7523 §3; R335",
        "signature and claims are validated",
        &["NEG-121", "NEG-100", "NEG-101", "NEG-103", "NEG-105"],
    ),
    shown(
        "CA-04",
        "SMART App Launch 2.2, Client Authentication: Asymmetric; R336",
        "jti once",
        &["NEG-107", "NEG-107a", "NEG-108", "NEG-110"],
    ),
    shown("CA-05", "SMART App Launch 2.2, Client Authentication: Asymmetric; R337", "client_id is iss", &["NEG-100"]),
    shown(
        "CA-06",
        "SMART App Launch 2.2, Client Authentication: Asymmetric; R338",
        "one fitting key",
        &["NEG-114", "NEG-118", "NEG-113"],
    ),
    shown(
        "CA-08",
        "SMART App Launch 2.2, Client Authentication: Asymmetric; R340",
        "any failure is invalid_client",
        &["NEG-100", "NEG-119", "NEG-122"],
    ),
    shown(
        "CA-10",
        "SMART App Launch 2.2, Client Authentication: Asymmetric; R310 R311",
        "RS384 or ES384",
        &["DISC-15", "CA-01"],
    ),
    shown("BIS-01", "rfc7523bis", "the issuer as sole audience", &["CA-14", "NEG-101"]),
    shown("BIS-02", "rfc7523bis", "typ client-authentication+jwt", &["CA-14"]),
    shown("IN-01", "SMART App Launch 2.2, Token Introspection; R269 R271", "introspection", &["DISC-11", "IN-02"]),
    shown("IN-06", "RFC 7662 §2.2", "inactive says nothing else", &["NEG-174"]),
    shown("IN-07", "RFC 7662 §2.1, §4", "authenticated, by POST, not kept", &["NEG-173", "NEG-075a"]),
    shown("RV-04", "RFC 7009 §2.3", "CORS on revocation", &["TK-12"]),
    shown("RS-04", "RFC 9449 §7.2", "a bound token is no bearer token", &["NEG-220r", "NEG-226"]),
    shown("RS-06", "US Core granular tests", "exactly the subset in scope", &["NEG-195", "NEG-207"]),
    shown("SEC-01", "RFC 9700 §2.3", "one audience", &["JAT-01"]),
    shown("SEC-02", "RFC 9700 §2.2.1", "sender-constrained tokens", &["DP-03", "MT-01"]),
    shown("SEC-03", "RFC 9700 §4.13", "claimed headers are ignored", &["NEG-007", "NEG-008"]),
    shown("SEC-04", "RFC 9700 §4.11", "no open redirector", &["NEG-020", "NEG-021", "NEG-031"]),
    shown("SEC-05", "RFC 9207", "mix-up defence", &["NEG-037"]),
    shown("SEC-06", "RFC 9700 §4.5", "code injection defence", &["TK-02", "NEG-066"]),
    shown("SEC-08", "RFC 6749 §10.11", "no oracle about clients", &["NEG-122", "NEG-151"]),
    shown("JAT-02", "RFC 9068 §2.2", "the claims", &["JAT-01"]),
    shown("JAT-03", "RFC 9068 §4", "no other JWT passes as access token", &["RS-01", "NEG-120"]),
    shown("DP-01", "RFC 9449 §4.3", "the proof's form", &["NEG-220"]),
    shown("DP-02", "RFC 9449 §4.3", "the proof's claims", &["NEG-220", "NEG-220r", "NEG-221"]),
    shown("DP-04", "RFC 9449 §5", "refresh tokens of public clients are bound", &["NEG-223"]),
    shown("DP-05", "RFC 9449 §8, §9", "a nonce that is not the server's is refused", &["NEG-220", "NEG-220r"]),
    shown("DP-06", "RFC 9449 §10", "dpop_jkt binds the code", &["NEG-225"]),
    shown("DP-07", "RFC 9449 §11.1", "a proof once", &["NEG-222"]),
    shown("PA-04", "RFC 9126 §5", "pushing can be required", &["NEG-231"]),
    shown("MD-01", "RFC 8414 §3.3", "the issuer is where it was fetched", &["DISC-21"]),
    shown("US-03", "(g)(10) limited scope grant", "resource types can be denied", &["SC-17", "RS-02a"]),
    shown("US-04", "(g)(10) granular scope selection", "categories can be denied", &["SC-17"]),
    shown("US-05", "(g)(10) revocation", "revocation reaches the FHIR API", &["NEG-172"]),
    shown("US-06", "(g)(10) attestation", "key sets are not kept beyond their Cache-Control", &["NEG-146", "CA-09"]),
    shown("US-09", "(g)(10) 9.20", "the server validates its own tokens", &["IN-02", "RS-01"]),
    shown("US-10", "(g)(10) attestation", "data never beyond the registered scopes", &["BE-02", "RS-02a"]),
    shown("NEG-077", "RFC 6749 §2.3.1; D-08", "Basic raw and form-encoded", &["CA-11"]),
    shown("NEG-176", "SMART App Launch 2.2, Token Introspection; R277", "context in introspection", &["IN-03"]),
    shown("NEG-191", "SMART App Launch 2.2, Scopes; R126", ".read is rs", &["SC-03"]),
    shown("NEG-201", "SMART App Launch 2.2, Scopes", "includes release nothing ungranted", &["NEG-202"]),
];

#[test]
fn what_shows_a_requirement_is_a_row() {
    let ids: Vec<&str> = super::ALL.iter().flat_map(|(_, rows)| rows.iter().map(|row| row.id)).collect();
    for shown in SHOWN {
        assert!(!ids.contains(&shown.id), "{} is a row of its own", shown.id);
        assert!(!shown.by.is_empty() && shown.by.iter().all(|id| ids.contains(id)), "{}", shown.id);
    }
}
