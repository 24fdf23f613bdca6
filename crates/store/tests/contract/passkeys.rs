//! Passkeys, ceremonies, page sessions and waiting command lines.

use domain::*;
use store::*;

use super::{NOW, on_every_engine};

const MINUTE: i64 = 60_000;

async fn person(store: &Store, id: &str) -> PersonId {
    let new = NewPerson {
        id: id.parse().unwrap(),
        name: "Name".into(),
        credential: "$argon2id$v=19$m=19456,t=2,p=1$abc$def".into(),
        roles: vec![],
    };
    store.add_person(&new, "test", NOW).await.unwrap().unwrap();
    new.id
}

fn passkey(person: &PersonId, byte: u8) -> Passkey {
    Passkey {
        id: format!("{byte:032x}"),
        person: person.clone(),
        name: format!("key {byte}"),
        credential: vec![byte; 16],
        public_key: vec![byte; 77],
        counter: 5,
        created_at: NOW + i64::from(byte),
        used_at: None,
    }
}

async fn sign_in(store: &Store, hash: u8, person: &PersonId, means: Means) {
    let session = ConsoleSession { person: person.clone(), means };
    store.add_console_session(&[hash; 32], &session, NOW, NOW + 480 * MINUTE).await.unwrap();
    store.add_api_token(&[hash; 32], person, NOW, NOW + 480 * MINUTE).await.unwrap();
}

async fn signed_in(store: &Store, hash: u8) -> (bool, bool) {
    let page = store.use_console_session(&[hash; 32], NOW + 1, NOW - 1).await.unwrap().is_some();
    (page, store.use_api_token(&[hash; 32], NOW + 1, NOW - 1).await.unwrap().is_some())
}

#[tokio::test]
async fn passkeys_come_and_go_and_the_last_goes_by_another_hand() {
    on_every_engine(async |store| {
        let (olga, pia) = (person(&store, "olga@x").await, person(&store, "pia@x").await);
        sign_in(&store, 1, &olga, Means::Passphrase).await;
        sign_in(&store, 2, &pia, Means::Passphrase).await;
        assert_eq!(signed_in(&store, 1).await, (true, true));
        store.add_passkey(&passkey(&olga, 1)).await.unwrap().unwrap();
        assert_eq!(signed_in(&store, 1).await, (false, false), "the first ends what the passphrase opened");
        assert_eq!(signed_in(&store, 2).await, (true, true), "of its holder alone");
        sign_in(&store, 3, &olga, Means::Passphrase).await;
        assert!(!signed_in(&store, 3).await.0, "a page session by passphrase is none beside a passkey");
        sign_in(&store, 4, &olga, Means::Passkey).await;
        store.add_passkey(&passkey(&olga, 2)).await.unwrap().unwrap();
        assert_eq!(signed_in(&store, 4).await, (true, true), "a second signs nobody out");
        let taken = Passkey { id: format!("{:032x}", 9), ..passkey(&pia, 1) };
        assert_eq!(store.add_passkey(&taken).await.unwrap(), Err(AddPasskeyRefusal::Exists));
        assert_eq!(store.passkeys(&olga).await.unwrap(), [passkey(&olga, 1), passkey(&olga, 2)]);
        assert_eq!(store.find_passkey(&[2; 16]).await.unwrap(), Some(passkey(&olga, 2)));

        let id = |byte: u8| format!("{byte:032x}");
        assert_eq!(store.remove_passkey(&pia, &id(1), true).await.unwrap(), PasskeyGone::Unknown, "another's");
        assert_eq!(store.remove_passkey(&olga, &id(1), false).await.unwrap(), PasskeyGone::Gone);
        assert_eq!(store.remove_passkey(&olga, &id(2), false).await.unwrap(), PasskeyGone::Kept);
        assert_eq!(signed_in(&store, 4).await, (true, true));
        assert_eq!(store.passkeys(&olga).await.unwrap().len(), 1, "a refusal takes nothing");
        assert_eq!(store.remove_passkey(&olga, &id(2), true).await.unwrap(), PasskeyGone::Last);
        assert_eq!(signed_in(&store, 4).await, (false, false));

        for byte in 10..30 {
            store.add_passkey(&passkey(&pia, byte)).await.unwrap().unwrap();
        }
        assert_eq!(store.add_passkey(&passkey(&pia, 30)).await.unwrap(), Err(AddPasskeyRefusal::Many));
        store.disable_person(&olga, Some(NOW)).await.unwrap();
        assert_eq!(store.add_passkey(&passkey(&olga, 1)).await.unwrap(), Err(AddPasskeyRefusal::Unknown));
        store.disable_person(&pia, Some(NOW)).await.unwrap();
        assert_eq!(store.find_passkey(&[10; 16]).await.unwrap(), None, "of an account that is off");
    })
    .await;
}

#[tokio::test]
async fn a_counter_goes_on_or_is_not_there() {
    on_every_engine(async |store| {
        let olga = person(&store, "olga@x").await;
        store.add_passkey(&passkey(&olga, 1)).await.unwrap().unwrap();
        store.add_passkey(&Passkey { counter: 0, ..passkey(&olga, 2) }).await.unwrap().unwrap();
        let (counts, silent) = (format!("{:032x}", 1), format!("{:032x}", 2));
        for (id, counter, fits) in [
            (&counts, 5, false),
            (&counts, 6, true),
            (&counts, 6, false),
            (&counts, 0, false),
            (&counts, u32::MAX, true),
            (&silent, 0, true),
            (&silent, 0, true),
            (&silent, 1, true),
            (&silent, 0, false),
            (&"0".repeat(32), 1, false),
        ] {
            assert_eq!(store.use_passkey(id, counter, NOW + 7).await.unwrap(), fits, "{id} {counter}");
        }
        assert_eq!(store.passkeys(&olga).await.unwrap()[0].used_at, Some(NOW + 7));
        let handle = store.passkey_handle(&olga, &[1; 32]).await.unwrap();
        assert_eq!((handle, store.passkey_handle(&olga, &[2; 32]).await.unwrap()), ([1; 32], [1; 32]));
        assert_eq!(store.find_passkey_handle(&olga).await.unwrap(), Some([1; 32]));
        assert_eq!(store.find_passkey_handle(&"nobody@x".parse().unwrap()).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_challenge_is_answered_once_and_in_time() {
    on_every_engine(async |store| {
        let olga = person(&store, "olga@x").await;
        let enrol = Ceremony { kind: CeremonyKind::Enrol, browser: [1; 32], person: Some(olga) };
        let sign_in = Ceremony { kind: CeremonyKind::SignIn, browser: [2; 32], person: None };
        store.begin_ceremony(&[1; 32], &enrol, NOW + 5 * MINUTE).await.unwrap();
        store.begin_ceremony(&[2; 32], &sign_in, NOW + 5 * MINUTE).await.unwrap();
        assert_eq!(store.redeem_ceremony(&[1; 32], NOW + 5 * MINUTE - 1).await.unwrap(), Some(enrol));
        assert_eq!(store.redeem_ceremony(&[1; 32], NOW).await.unwrap(), None, "once");
        assert_eq!(store.redeem_ceremony(&[2; 32], NOW + 5 * MINUTE).await.unwrap(), None, "too late");
        assert_eq!(store.redeem_ceremony(&[2; 32], NOW).await.unwrap(), None, "used up by who came too late");
        assert_eq!(store.redeem_ceremony(&[3; 32], NOW).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn page_sessions_end_idle_old_and_signed_out() {
    on_every_engine(async |store| {
        let olga = person(&store, "olga@x").await;
        let used = async |hash: u8, at: i64| {
            store.use_console_session(&[hash; 32], at, at - 15 * MINUTE).await.unwrap().map(|found| found.person)
        };
        sign_in(&store, 1, &olga, Means::Passkey).await;
        assert_eq!(used(1, NOW + 15 * MINUTE - 1).await, Some(olga.clone()));
        assert_eq!(used(1, NOW + 30 * MINUTE).await, None, "idle");
        sign_in(&store, 2, &olga, Means::Passkey).await;
        for n in 1..34 {
            assert_eq!(used(2, NOW + n * 14 * MINUTE).await, Some(olga.clone()));
        }
        assert_eq!(used(2, NOW + 480 * MINUTE).await, None, "eight hours");
        sign_in(&store, 3, &olga, Means::Passkey).await;
        store.end_console_session(&[3; 32]).await.unwrap();
        assert_eq!(used(3, NOW + 1).await, None);
        sign_in(&store, 4, &olga, Means::Passphrase).await;
        store.put_credential(&olga, "$argon2id$v=19$m=19456,t=2,p=1$abc$xyz", NOW).await.unwrap();
        assert_eq!(signed_in(&store, 4).await, (false, false), "a new passphrase");
    })
    .await;
}

#[tokio::test]
async fn a_command_line_is_answered_once_by_its_person_and_takes_one_token() {
    on_every_engine(async |store| {
        let (olga, pia) = (person(&store, "olga@x").await, person(&store, "pia@x").await);
        let over = NOW + 5 * MINUTE;
        let ask = async |byte: u8, person: &str| {
            let request = LoginRequest {
                id: format!("{byte:032x}"),
                person: person.into(),
                code: "BCDF-GHJK".into(),
                peer: "127.0.0.1".into(),
                state: LoginState::Asked,
            };
            assert!(store.ask_login(&request, &[byte; 32], NOW, over).await.unwrap());
            request.id
        };
        let take =
            async |byte: u8, at: i64| store.take_login(&[byte; 32], &[byte + 100; 32], at, at + MINUTE).await.unwrap();
        let answer =
            async |id: &str, by: &PersonId, state, at| store.answer_login(id, by, state, &[0; 32], at).await.unwrap();
        let one = ask(1, "olga@x").await;
        assert_eq!(take(1, NOW).await, Took::Nothing, "not granted");
        assert!(!answer(&one, &pia, LoginState::Granted, NOW).await, "somebody else");
        assert!(!answer(&one, &olga, LoginState::Granted, over).await, "over");
        assert!(answer(&one, &olga, LoginState::Granted, NOW).await);
        assert!(!answer(&one, &olga, LoginState::Refused, NOW).await, "answered once");
        assert_eq!(store.find_login(&one, NOW).await.unwrap().unwrap().state, LoginState::Granted);
        assert_eq!(store.find_login(&one, over).await.unwrap(), None);
        assert_eq!(take(1, over).await, Took::Nothing, "fetched too late");
        assert_eq!(take(2, NOW).await, Took::Nothing, "another secret");
        assert!(matches!(take(1, NOW).await, Took::Token(person, _) if person == olga));
        assert_eq!(take(1, NOW).await, Took::Nothing, "once");
        assert_eq!(store.use_api_token(&[101; 32], NOW + 1, NOW - 1).await.unwrap(), Some(olga.clone()));
        let two = ask(3, "olga@x").await;
        assert!(answer(&two, &olga, LoginState::Refused, NOW).await);
        assert_eq!(take(3, NOW).await, Took::Nothing, "refused");
        let three = ask(4, "olga@x").await;
        assert!(answer(&three, &olga, LoginState::Granted, NOW).await);
        store.disable_person(&olga, Some(NOW)).await.unwrap();
        assert_eq!(take(4, NOW).await, Took::Nothing, "the account is off");
        ask(5, "nobody at all").await;
        assert!(store.purge(over + 600_001).await.is_ok());
        assert_eq!(store.find_login_by_secret(&[5; 32], NOW).await.unwrap(), None, "forgotten in time");
    })
    .await;
}
