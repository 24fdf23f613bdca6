//! Tokens bound to a key at the gate (RFC 9449 §7): who holds the key, on which node, and what a 401 says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

#[path = "authorize_common/holder.rs"]
mod holder;
mod support;

use std::sync::Arc;

use domain::Confirmation;
use holder::Holder;
use serde_json::{Value, json};
use support::{Gate, Reply};

const KOBS: &str = "patient/Observation.rs";
const BASE: &str = "http://gate.test/mercy/fhir";
const O1: &str = "http://gate.test/mercy/fhir/Observation/O1";
const METADATA: &str = r#"resource_metadata="http://gate.test/.well-known/oauth-protected-resource/mercy/fhir""#;

/// A token of a living session that is bound to `confirmation`.
async fn bound_to(gate: &Gate, confirmation: Confirmation, scopes: &str) -> String {
    let mut session = gate.session("P1", scopes).await;
    session.confirmation = Some(confirmation);
    gate.sign(&session, |_| {})
}

async fn bound(gate: &Gate, holder: &Holder) -> String {
    bound_to(gate, Confirmation::Dpop(holder.thumbprint()), KOBS).await
}

async fn send(gate: &Gate, path: &str, token: &str, proofs: &[&str]) -> Reply {
    let authorization = format!("DPoP {token}");
    let mut headers = vec![("authorization", authorization.as_str())];
    headers.extend(proofs.iter().map(|proof| ("dpop", *proof)));
    gate.send("GET", path, &headers, "").await
}

impl Holder {
    fn proof(&self, gate: &Gate, url: &str, nonce: &str, token: &str) -> String {
        self.sign(&self.head(), &self.claims("GET", url, gate.clock.now(), Some(nonce), Some(token)))
    }

    /// Asks for the nonce that is good now, as every client must once.
    async fn nonce(&self, gate: &Gate, token: &str) -> String {
        let proof = self.sign(&self.head(), &self.claims("GET", O1, gate.clock.now(), None, Some(token)));
        let reply = send(gate, "Observation/O1", token, &[&proof]).await;
        assert_eq!(reply.status, 401, "{}", reply.text());
        let challenge = reply.header("www-authenticate");
        assert!(
            challenge.starts_with("DPoP error=\"use_dpop_nonce\", algs=\"ES384 RS384 ES256 PS256\""),
            "{challenge}"
        );
        reply.header("dpop-nonce").to_owned()
    }
}

/// 401 with `error` in a DPoP challenge, and nothing of the patient.
fn refused(reply: &Reply, error: &str, what: &str) {
    assert_eq!(reply.status, 401, "{what}: {}", reply.text());
    let challenge = reply.header("www-authenticate");
    assert!(challenge.starts_with(&format!("DPoP error=\"{error}\"")), "{what}: {challenge}");
    assert!(challenge.contains("algs=\"") && challenge.ends_with(METADATA), "{what}: {challenge}");
    assert_eq!(reply.json()["resourceType"], "OperationOutcome", "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dp_02_a_bound_token_works_with_its_key() {
    let gate = Gate::start().await;
    let holder = Holder::new();
    let token = bound(&gate, &holder).await;
    let nonce = holder.nonce(&gate, &token).await;
    let reply = send(&gate, "Observation/O1", &token, &[&holder.proof(&gate, O1, &nonce, &token)]).await;
    assert_eq!((reply.status, reply.header("dpop-nonce")), (200, ""), "{}", reply.text());
    // A search by POST, and a batch, are one request each.
    for (path, media, body) in [
        ("Observation/_search", "application/x-www-form-urlencoded", "patient=P1".to_owned()),
        (
            "",
            "application/fhir+json",
            json!({"resourceType": "Bundle", "type": "batch", "entry": [
                {"request": {"method": "GET", "url": "Observation/O1"}},
                {"request": {"method": "GET", "url": "Observation?patient=P1"}},
            ]})
            .to_string(),
        ),
    ] {
        let url = format!("{BASE}/{path}");
        let claims = |method: &str| holder.claims(method, &url, gate.clock.now(), Some(&nonce), Some(&token));
        let authorization = format!("DPoP {token}");
        for (method, status) in [("GET", 401), ("POST", 200)] {
            let proof = holder.sign(&holder.head(), &claims(method));
            let headers = [("authorization", authorization.as_str()), ("dpop", &proof), ("content-type", media)];
            let reply = gate.send("POST", path, &headers, &body).await;
            assert_eq!(reply.status, status, "{path} {method}: {}", reply.text());
        }
    }
    assert!(gate.codes().await.contains(&"proof-nonce".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rs_04_neither_scheme_takes_the_others_tokens() {
    let gate = Gate::start().await;
    let holder = Holder::new();
    let token = bound(&gate, &holder).await;
    let nonce = holder.nonce(&gate, &token).await;
    refused(&gate.get(&token, "Observation/O1").await, "invalid_token", "bound, as Bearer");
    let proof = holder.proof(&gate, O1, &nonce, &token);
    let authorization = format!("Bearer {token}");
    let with_proof = [("authorization", authorization.as_str()), ("dpop", proof.as_str())];
    refused(&gate.send("GET", "Observation/O1", &with_proof, "").await, "invalid_token", "as Bearer, with its proof");
    let bearer = gate.token(KOBS).await;
    let proof = holder.proof(&gate, O1, &nonce, &bearer);
    let reply = send(&gate, "Observation/O1", &bearer, &[&proof]).await;
    let challenge = reply.header("www-authenticate");
    assert_eq!((reply.status, challenge), (401, format!("Bearer error=\"invalid_token\", {METADATA}").as_str()));
    let authorization = format!("Bearer {bearer}");
    let stray = [("authorization", authorization.as_str()), ("dpop", "x")];
    assert_eq!(gate.send("GET", "Observation/O1", &stray, "").await.status, 200, "a header nobody asked for");
    let certificate = bound_to(&gate, Confirmation::Mtls([7; 32]), KOBS).await;
    assert_eq!(gate.get(&certificate, "Observation/O1").await.status, 401, "NEG-226: no certificate");
    assert_eq!(send(&gate, "Observation/O1", &certificate, &[]).await.status, 401);
    assert_eq!(gate.upstream.requests.take().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neg_220_what_does_not_hold_is_refused_and_on_record() {
    let gate = Gate::start().await;
    let holder = Holder::new();
    let token = bound(&gate, &holder).await;
    let nonce = holder.nonce(&gate, &token).await;
    let claims = || holder.claims("GET", O1, gate.clock.now(), Some(&nonce), Some(&token));
    let spoil = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        holder.sign(&holder.head(), &claims)
    };
    let mut spoiled = holder.spoiled(&claims);
    spoiled.push(("ath of another token", spoil("ath", json!("fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"))));
    spoiled.push(("ath is the token", spoil("ath", json!(token))));
    let no_ath = holder.claims("GET", O1, gate.clock.now(), Some(&nonce), None);
    spoiled.push(("no ath", holder.sign(&holder.head(), &no_ath)));
    spoiled.push(("another key than cnf.jkt", Holder::new().proof(&gate, O1, &nonce, &token)));
    // PF-14: what `Host` says is not where we are.
    let by_host = format!("http://{}/mercy/fhir/Observation/O1", gate.server.public);
    spoiled.push(("htu from Host", spoil("htu", json!(by_host))));
    spoiled.push(("htu of the token endpoint", spoil("htu", json!("http://gate.test/mercy/oauth/token"))));
    let before = gate.codes().await;
    for (name, proof) in &spoiled {
        refused(&send(&gate, "Observation/O1", &token, &[proof]).await, "invalid_dpop_proof", name);
    }
    refused(&send(&gate, "Observation/O1", &token, &[]).await, "invalid_dpop_proof", "no proof");
    let (one, two) = (holder.proof(&gate, O1, &nonce, &token), holder.proof(&gate, O1, &nonce, &token));
    refused(&send(&gate, "Observation/O1", &token, &[&one, &two]).await, "invalid_dpop_proof", "two headers");
    let made_up = spoil("nonce", json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    refused(&send(&gate, "Observation/O1", &token, &[&made_up]).await, "use_dpop_nonce", "a nonce of nobody");
    assert_eq!(gate.upstream.requests.count(), 0);
    assert_eq!(send(&gate, "Observation/O1", &token, &[&one]).await.status, 200, "not used up by any of that");
    refused(&send(&gate, "Observation/O1", &token, &[&one]).await, "invalid_dpop_proof", "DP-07: replayed");
    let codes = gate.codes().await.split_off(before.len());
    assert_eq!(codes.iter().filter(|code| *code == "proof-invalid").count(), spoiled.len() + 3);
    assert_eq!(codes.iter().filter(|code| *code == "proof-nonce").count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neg_221_the_url_may_be_written_otherwise() {
    let gate = Gate::start().await;
    let holder = Holder::new();
    let token = bound(&gate, &holder).await;
    let nonce = holder.nonce(&gate, &token).await;
    for url in [
        "http://gate.test/mercy/fhir/Observation",
        "http://gate.test/mercy/fhir/Observation?patient=P1",
        "http://gate.test:80/mercy/fhir/Observation?other",
        "HTTP://GATE.test/mercy/fhir/Observation#x",
    ] {
        let proof = holder.proof(&gate, url, &nonce, &token);
        let reply = send(&gate, "Observation?patient=P1", &token, &[&proof]).await;
        assert_eq!(reply.status, 200, "{url}: {}", reply.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dp_05_a_proof_is_good_on_one_node() {
    let mut gate = Gate::start().await;
    let mut settings = gate.settings.clone();
    settings.node = "node-2".into();
    settings.ledger_dir = gate.folder.path().join("ledger-2");
    settings.spool_dir = gate.folder.path().join("spool-2");
    let root = vault::RootKey::parse(&[7; 32]).unwrap();
    let other = server::app::start(settings, &root, gate.clock.clone()).await.unwrap();
    let holder = Holder::new();
    let mut session = gate.session("P1", KOBS).await;
    session.confirmation = Some(Confirmation::Dpop(holder.thumbprint()));
    let token = gate.sign(&session, |_| {});
    let nonce = holder.nonce(&gate, &token).await;
    let unused = holder.proof(&gate, O1, &nonce, &token);
    let used = holder.proof(&gate, O1, &nonce, &token);
    assert_eq!(send(&gate, "Observation/O1", &token, &[&used]).await.status, 200);
    let here = std::mem::replace(&mut gate.server, other);
    gate.reach(session.feed).await;
    for (proof, what) in [(&used, "used elsewhere"), (&unused, "made for elsewhere")] {
        refused(&send(&gate, "Observation/O1", &token, &[proof]).await, "use_dpop_nonce", what);
    }
    let others = holder.nonce(&gate, &token).await;
    assert_ne!(others, nonce);
    let for_other = holder.proof(&gate, O1, &others, &token);
    let reply = send(&gate, "Observation/O1", &token, &[&for_other]).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let other = std::mem::replace(&mut gate.server, here);
    refused(&send(&gate, "Observation/O1", &token, &[&for_other]).await, "use_dpop_nonce", "and back");
    assert_eq!(send(&gate, "Observation/O1", &token, &[&unused]).await.status, 200);
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_one_proof_sent_fifty_times_at_once_one_is_taken() {
    let gate = Arc::new(Gate::start().await);
    let holder = Holder::new();
    let token = bound(&gate, &holder).await;
    let nonce = holder.nonce(&gate, &token).await;
    let proof = holder.proof(&gate, O1, &nonce, &token);
    let replies: Vec<_> = (0..50)
        .map(|_| {
            let (gate, token, proof) = (Arc::clone(&gate), token.clone(), proof.clone());
            tokio::spawn(async move { send(&gate, "Observation/O1", &token, &[&proof]).await })
        })
        .collect();
    let mut taken = 0;
    for reply in replies {
        let reply = reply.await.unwrap();
        match reply.status {
            200 => taken += 1,
            _ => refused(&reply, "invalid_dpop_proof", "sent at once"),
        }
    }
    assert_eq!(taken, 1, "DP-07");
    assert_eq!(gate.upstream.requests.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonces_are_renewed_before_they_end() {
    let gate = Gate::start().await;
    let holder = Holder::new();
    let token = bound(&gate, &holder).await;
    let nonce = holder.nonce(&gate, &token).await;
    gate.clock.advance(200_000);
    let late = send(&gate, "Observation/O1", &token, &[&holder.proof(&gate, O1, &nonce, &token)]).await;
    let next = late.header("dpop-nonce").to_owned();
    assert_eq!((late.status, next.is_empty(), next != nonce), (200, false, true), "{}", late.text());
    gate.clock.advance(101_000);
    let ended = send(&gate, "Observation/O1", &token, &[&holder.proof(&gate, O1, &nonce, &token)]).await;
    refused(&ended, "use_dpop_nonce", "ended");
    let proof = holder.proof(&gate, O1, &next, &token);
    assert_eq!(send(&gate, "Observation/O1", &token, &[&proof]).await.status, 200);
}

/// RFC 9728 §5.1: whatever a 401 is about, it says where tokens are given; and the scheme it came by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_401_names_the_metadata() {
    let gate = Gate::start().await;
    let without = gate.send("GET", "Observation/O1", &[], "").await;
    assert_eq!((without.status, without.header("www-authenticate")), (401, format!("Bearer {METADATA}").as_str()));
    let invalid = format!("Bearer error=\"invalid_token\", {METADATA}");
    refused(&send(&gate, "Observation/O1", "x", &[]).await, "invalid_token", "no token of ours");
    for authorization in ["Bearer x", "Basic eDp4", "Bearer"] {
        let reply = gate.send("GET", "Observation/O1", &[("authorization", authorization)], "").await;
        assert_eq!((reply.status, reply.header("www-authenticate")), (401, invalid.as_str()), "{authorization}");
    }
    let session = gate.session("P1", KOBS).await;
    let token = gate.sign(&session, |_| {});
    let short = gate.get(&token, "Condition/C1").await;
    let challenge = short.header("www-authenticate");
    assert!(short.status == 403 && !challenge.contains("resource_metadata"), "{challenge}");
    assert!(gate.end(&session).await);
    assert_eq!(gate.get(&token, "Observation/O1").await.header("www-authenticate"), invalid);
    // A bound session is refused in its own scheme, for want of a scope and after its end.
    let holder = Holder::new();
    let mut session = gate.session("P1", KOBS).await;
    session.confirmation = Some(Confirmation::Dpop(holder.thumbprint()));
    let token = gate.sign(&session, |_| {});
    let nonce = holder.nonce(&gate, &token).await;
    let proof = holder.proof(&gate, &format!("{BASE}/Condition/C1"), &nonce, &token);
    let short = send(&gate, "Condition/C1", &token, &[&proof]).await;
    assert!(
        short.status == 403
            && short.header("www-authenticate").starts_with("DPoP error=\"insufficient_scope\", scope=")
    );
    assert!(gate.end(&session).await);
    let proof = holder.proof(&gate, O1, &nonce, &token);
    refused(&send(&gate, "Observation/O1", &token, &[&proof]).await, "invalid_token", "the session has ended");
    // Nobody else learns that it has.
    refused(&send(&gate, "Observation/O1", &token, &[]).await, "invalid_dpop_proof", "without the key");
}
