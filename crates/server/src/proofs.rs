//! DPoP proofs as this process takes them (RFC 9449): nonces that only this process knows, and the memory of what it has seen.
//!
//! A proof is good for one request on one node. Each node demands a nonce of its own (§8, §9), authenticated under a key that is made
//! at its start and leaves it never; so a proof sent a second time meets this node's memory, and on every other node, or here
//! after a restart that lost the memory, a nonce that is none of its own.

use std::collections::{BTreeMap, HashSet};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Millis;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use oauth::dpop::{self, Expected, VerifiedProof};
use parking_lot::Mutex;

/// The header a proof comes in.
pub const DPOP: HeaderName = HeaderName::from_static("dpop");
/// The header a nonce goes out in. Pages of other origins read it only where CORS exposes it.
pub const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// How long a nonce is good: long enough that a client at work asks for one every few minutes, short enough that proofs made ahead of
/// time (§11.2) go stale.
const NONCE_MILLIS: i64 = 5 * 60 * 1_000;
/// Nonces change this often. All who ask within it are given the same one.
const NONCE_STEP_MILLIS: i64 = 30 * 1_000;
/// From this age on a client is given the next one with its answer.
const NONCE_RENEW_MILLIS: i64 = NONCE_MILLIS / 2;
/// Bytes of a nonce: when it was made, and a tag cut to 128 bits.
const NONCE_BYTES: usize = 8 + TAG_BYTES;
const TAG_BYTES: usize = 16;
/// Proofs remembered: 4,000 a second for the 121 seconds in which one can be good, in about 40 MiB.
const SEEN_MAX: usize = 500_000;
/// Proofs are forgotten together, by the part of a minute in which their `iat` ends them.
const FORGET_STEP_MILLIS: i64 = 15_000;

/// Why a request with a proof, or without the one it needs, goes no further.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProofRefusal {
    /// `invalid_dpop_proof`: what is wrong, for its sender.
    #[error("{0}")]
    Invalid(String),
    /// `use_dpop_nonce`: the proof is to be made again with this nonce.
    #[error("the proof must carry the nonce of this answer's DPoP-Nonce header")]
    UseNonce(String),
    /// More proofs at once than can be remembered, or no nonce can be made: try again later.
    #[error("too many proofs are being remembered; try again")]
    Full,
}

impl ProofRefusal {
    /// The nonce that goes with it.
    #[must_use]
    pub fn nonce(&self) -> Option<&str> {
        match self {
            Self::UseNonce(nonce) => Some(nonce),
            Self::Invalid(_) | Self::Full => None,
        }
    }
}

/// A proof that holds and is still to be used up. Nothing may be given for it before [`Proofs::spend`].
#[derive(Debug)]
#[must_use]
pub struct Unspent {
    proof: VerifiedProof,
    next: Option<String>,
}

impl Unspent {
    /// Whose key it is: RFC 7638 thumbprint. To be compared before the proof is used up: with `dpop_jkt` of the code, with the key a
    /// public client's refresh token is bound to, with `cnf.jkt` of an access token.
    #[must_use]
    pub fn thumbprint(&self) -> [u8; 32] {
        self.proof.thumbprint
    }
}

/// A proof that held and is used up: whoever sent the request holds this key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    /// RFC 7638 thumbprint of the key: `cnf.jkt` of the token that is given for it.
    pub thumbprint: [u8; 32],
    /// The nonce to hand out with the answer, since the one used is about to end.
    pub next: Option<String>,
}

/// The nonces and the memory of one process; shared by all that take proofs.
pub struct Proofs {
    node: String,
    /// Made at the start. Absent where the random source failed: then there are no nonces and no proof is good.
    key: Option<hmac::Key>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// By the end of the step in which they may be forgotten.
    by_end: BTreeMap<i64, HashSet<[u8; 32]>>,
    count: usize,
}

impl std::fmt::Debug for Proofs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proofs([sealed])")
    }
}

impl Proofs {
    /// For the process of this node.
    #[must_use]
    pub fn new(node: &str) -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok();
        Self { node: node.to_owned(), key, seen: Mutex::default() }
    }

    /// Checks the proof of a request, if it has one, without remembering it. `url` is the public URL of what is asked, never made from
    /// request headers (PF-14); with `access_token` the proof must be for that token too.
    ///
    /// Apart from [`Proofs::spend`], so that only those who have proved something else too (client authentication, a living
    /// token, a good code) can fill the memory.
    ///
    /// # Errors
    /// [`ProofRefusal`].
    pub fn read(
        &self,
        headers: &HeaderMap,
        method: &str,
        url: &str,
        access_token: Option<&str>,
        now: Millis,
    ) -> Result<Option<Unspent>, ProofRefusal> {
        let mut values = headers.get_all(&DPOP).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let invalid = |why: &str| ProofRefusal::Invalid(why.to_owned());
        if values.next().is_some() {
            return Err(invalid("send one DPoP header"));
        }
        let text = value.to_str().map_err(|_| invalid("the DPoP header is no JWT"))?;
        let expected = Expected { method, url, access_token };
        let checked = dpop::read(text).and_then(|proof| proof.verify(&expected, now));
        let proof = checked.map_err(|why| ProofRefusal::Invalid(why.to_string()))?;
        let made = proof.nonce.as_deref().and_then(|nonce| self.opened(nonce));
        let age = made.map(|made| now.saturating_sub(made));
        match age.filter(|age| (-NONCE_STEP_MILLIS..NONCE_MILLIS).contains(age)) {
            Some(age) if age < NONCE_RENEW_MILLIS => Ok(Some(Unspent { proof, next: None })),
            Some(_) => Ok(Some(Unspent { proof, next: self.nonce(now) })),
            None => Err(self.nonce(now).map_or(ProofRefusal::Full, ProofRefusal::UseNonce)),
        }
    }

    /// Uses a proof up: of one proof sent many times at once, one is taken (DP-07).
    ///
    /// # Errors
    /// [`ProofRefusal`]: it was used before, or there is no room to remember it.
    pub fn spend(&self, unspent: Unspent, now: Millis) -> Result<Proof, ProofRefusal> {
        let Unspent { proof, next } = unspent;
        match self.seen.lock().insert(name(&proof), proof.forget_at, now, SEEN_MAX) {
            Inserted::New => Ok(Proof { thumbprint: proof.thumbprint, next }),
            Inserted::Known => Err(ProofRefusal::Invalid("the proof was used before".to_owned())),
            Inserted::Full => Err(ProofRefusal::Full),
        }
    }

    /// The nonce to make proofs with now; none where the random source failed.
    #[must_use]
    pub fn nonce(&self, now: Millis) -> Option<String> {
        let made = now.div_euclid(NONCE_STEP_MILLIS) * NONCE_STEP_MILLIS;
        let key = self.key.as_ref()?;
        let tag = hmac::sign(key, &self.named(made));
        let mut bytes = made.to_be_bytes().to_vec();
        bytes.extend_from_slice(tag.as_ref().get(..TAG_BYTES)?);
        Some(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// When a nonce of this process was made.
    fn opened(&self, nonce: &str) -> Option<Millis> {
        let bytes: [u8; NONCE_BYTES] = URL_SAFE_NO_PAD.decode(nonce).ok()?.try_into().ok()?;
        let (made, tag) = bytes.split_first_chunk::<8>()?;
        let made = i64::from_be_bytes(*made);
        let expected = hmac::sign(self.key.as_ref()?, &self.named(made));
        let expected = expected.as_ref().get(..TAG_BYTES)?;
        bool::from(subtle::ConstantTimeEq::ct_eq(tag, expected)).then_some(made)
    }

    /// What the tag of a nonce is over: the node and the time, and what it is for.
    fn named(&self, made: Millis) -> Vec<u8> {
        let mut out = b"dpop nonce\0".to_vec();
        out.extend_from_slice(&made.to_be_bytes());
        out.extend_from_slice(self.node.as_bytes());
        out
    }
}

/// Puts a nonce into an answer.
pub fn hand_out(nonce: Option<&str>, headers: &mut HeaderMap) {
    if let Some(value) = nonce.and_then(|nonce| HeaderValue::from_str(nonce).ok()) {
        headers.insert(DPOP_NONCE, value);
    }
}

/// One name for a `jti` of a key at a URL, whatever else the proof says.
fn name(proof: &VerifiedProof) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&proof.thumbprint);
    for part in [&proof.url, &proof.jti] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    out
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Inserted {
    New,
    Known,
    Full,
}

impl Seen {
    fn insert(&mut self, name: [u8; 32], forget_at: Millis, now: Millis, most: usize) -> Inserted {
        while let Some(first) = self.by_end.first_entry()
            && *first.key() <= now
        {
            self.count = self.count.saturating_sub(first.remove().len());
        }
        // A `jti` may come back with another `iat`, so all are looked through; there are never more than ten.
        if self.by_end.values().any(|seen| seen.contains(&name)) {
            return Inserted::Known;
        }
        if self.count >= most {
            return Inserted::Full;
        }
        let end = (forget_at.div_euclid(FORGET_STEP_MILLIS) + 1) * FORGET_STEP_MILLIS;
        self.by_end.entry(end).or_default().insert(name);
        self.count += 1;
        Inserted::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_800_000_000_000;

    #[test]
    fn the_memory_is_bounded_and_forgets_what_can_be_good_no_more() {
        let mut seen = Seen::default();
        assert_eq!(seen.insert([1; 32], NOW + 61_000, NOW, 2), Inserted::New);
        assert_eq!(seen.insert([1; 32], NOW + 61_000, NOW, 2), Inserted::Known);
        assert_eq!(seen.insert([1; 32], NOW + 121_000, NOW + 1, 2), Inserted::Known, "with another iat");
        assert_eq!(seen.insert([2; 32], NOW + 121_000, NOW, 2), Inserted::New);
        assert_eq!(seen.insert([3; 32], NOW + 61_000, NOW, 2), Inserted::Full, "refused, nobody is forgotten for it");
        assert_eq!(seen.insert([1; 32], NOW + 61_000, NOW + 60_999, 2), Inserted::Known);
        let later = NOW + 61_000 + FORGET_STEP_MILLIS;
        assert_eq!(seen.insert([3; 32], later + 61_000, later, 2), Inserted::New);
        assert_eq!(seen.insert([2; 32], later + 61_000, later, 2), Inserted::Known);
        assert_eq!(seen.count, seen.by_end.values().map(HashSet::len).sum::<usize>());
    }

    #[test]
    fn a_nonce_is_of_one_process_and_of_its_time() {
        let (here, there, again) = (Proofs::new("node-1"), Proofs::new("node-2"), Proofs::new("node-1"));
        let nonce = here.nonce(NOW).unwrap();
        assert_eq!(here.opened(&nonce), Some(NOW / NONCE_STEP_MILLIS * NONCE_STEP_MILLIS));
        assert_eq!(
            (there.opened(&nonce), again.opened(&nonce)),
            (None, None),
            "another node, and this one after a restart"
        );
        assert_eq!(here.nonce(NOW + NONCE_STEP_MILLIS - 1), Some(nonce.clone()), "NOW begins a step");
        assert_ne!(here.nonce(NOW + NONCE_STEP_MILLIS), Some(nonce.clone()), "rotation");
        let cut: String = nonce.chars().skip(1).collect();
        // The first letters are those of the time: another time under the same tag.
        for spoiled in ["", "x", &cut, &format!("B{cut}")] {
            assert_eq!(here.opened(spoiled), None, "`{spoiled}`");
        }
    }

    #[test]
    fn without_randomness_no_proof_is_good() {
        let broken = Proofs { node: "node-1".into(), key: None, seen: Mutex::default() };
        assert_eq!(broken.nonce(NOW), None);
        assert_eq!(broken.opened(&Proofs::new("node-1").nonce(NOW).unwrap()), None);
    }
}
