//! Key sets of clients fetched by URL, over real TLS: caching, rotation, and that nothing else is followed or told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod authorize_common;
#[path = "authorize_common/keyhost.rs"]
mod keyhost;

use authorize_common::*;
use keyhost::{Host, JSON, ONLY_13};
use oauth::Algorithm;
use server::broker::Broker;
use server::clock::Clock;
use server::settings::OutboundSettings;

fn named(key: &Key, kid: &str) -> String {
    key.jwks().replace("\"k1\"", &format!("\"{kid}\""))
}

async fn has(broker: &Broker, host: &Host, kid: &str) -> bool {
    let set = broker.client_keys().get(&host.url, kid, Algorithm::Es384).await;
    set.is_some_and(|set| set.choose(kid, Algorithm::Es384).is_some())
}

fn broker(outbound: &OutboundSettings, clock: &Clock) -> Broker {
    Broker::open(&[], outbound, clock.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn neg_146_a_rotation_is_seen_after_max_age_or_by_an_unknown_kid() {
    let (host, clock, one, two) = (Host::start(ONLY_13).await, Clock::fixed(NOW), Key::new(), Key::new());
    let broker = broker(&host.outbound, &clock);
    host.serve(200, JSON, "max-age=60", &named(&one, "one"));
    assert!(has(&broker, &host, "one").await);
    assert!(has(&broker, &host, "one").await);
    assert_eq!(host.hits(), 1, "cached");
    host.serve(200, JSON, "max-age=60", &named(&two, "two"));
    assert!(has(&broker, &host, "two").await, "an unknown kid looks once more");
    assert!(!has(&broker, &host, "one").await, "and the removed one is gone");
    assert!(!has(&broker, &host, "three").await);
    assert_eq!(host.hits(), 2, "unknown kids are rate limited per URL");
    clock.advance(60_000);
    assert!(has(&broker, &host, "two").await);
    assert_eq!(host.hits(), 3, "not beyond its Cache-Control");
}

#[tokio::test(flavor = "multi_thread")]
async fn neg_147_no_store_is_fetched_each_time_but_together() {
    let (host, clock, key) = (Host::start(ONLY_13).await, Clock::fixed(NOW), Key::new());
    let broker = broker(&host.outbound, &clock);
    host.serve(200, JSON, "no-store", &key.jwks());
    assert!(has(&broker, &host, "k1").await);
    assert!(has(&broker, &host, "k1").await);
    assert_eq!(host.hits(), 2);
    let many = futures_util::future::join_all((0..20).map(|_| has(&broker, &host, "k1"))).await;
    assert!(many.into_iter().all(|found| found));
    assert_eq!(host.hits(), 3, "coalesced");
}

#[tokio::test(flavor = "multi_thread")]
async fn neg_150_a_dead_host_is_survived_until_the_cache_ends() {
    let (host, clock, key) = (Host::start(ONLY_13).await, Clock::fixed(NOW), Key::new());
    let broker = broker(&host.outbound, &clock);
    host.serve(200, JSON, "max-age=31536000", &key.jwks());
    assert!(has(&broker, &host, "k1").await);
    host.serve(500, JSON, "", "");
    clock.advance(3_599_000);
    assert!(has(&broker, &host, "k1").await);
    clock.advance(1_000);
    assert!(!has(&broker, &host, "k1").await, "NEG-148: an hour at most");
}

#[tokio::test(flavor = "multi_thread")]
async fn neg_142_to_145_what_is_no_key_set_is_none() {
    let (host, clock, key) = (Host::start(ONLY_13).await, Clock::fixed(NOW), Key::new());
    let private = key.jwks().replace("\"kid\"", "\"d\":\"AA\",\"kid\"");
    for (status, kind, body) in [
        (302, JSON, key.jwks()),
        (404, JSON, key.jwks()),
        (200, "text/html", key.jwks()),
        (200, JSON, "<html>".into()),
        (200, JSON, private),
        (200, JSON, format!("{}{}", key.jwks(), " ".repeat(70_000))),
    ] {
        host.serve(status, kind, "max-age=60", &body);
        assert!(!has(&broker(&host.outbound, &clock), &host, "k1").await, "{status} {kind}");
    }
    host.serve(200, JSON, "", &key.jwks());
    assert!(!has(&broker(&OutboundSettings::default(), &clock), &host, "k1").await, "NEG-140: a private address");
    let untrusted = OutboundSettings { ca: None, ..host.outbound.clone() };
    assert!(!has(&broker(&untrusted, &clock), &host, "k1").await, "an unknown authority");
    assert!(has(&broker(&host.outbound, &clock), &host, "k1").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_is_not_spoken() {
    let (host, clock, key) = (Host::start(&[&rustls::version::TLS12]).await, Clock::fixed(NOW), Key::new());
    host.serve(200, JSON, "", &key.jwks());
    assert!(!has(&broker(&host.outbound, &clock), &host, "k1").await);
}
