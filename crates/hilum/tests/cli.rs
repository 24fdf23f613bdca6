//! The way in as the README tells it, by the built binary: every refusal with its exit code and its words, and a restart.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod support;

use std::fs;

use support::{ANN, DANA, OMAR, Place, hilum};

const PEOPLE: [&str; 5] = [
    "person",
    "first",
    "dana@mercy.example=operator",
    "omar@mercy.example=privacy-officer",
    "ann@mercy.example=auditor",
];

#[test]
fn from_an_empty_folder_to_an_audited_read() {
    let mut place = Place::new();
    place.hilum(&["person", "list"]).ends(1, "is `hilum serve` running");
    place.serve();
    people(&place);
    registration(&place);
    let token = approval(&place);
    reads(&place, &token);
    policies(&place, &token);
    switching_off(&place, &token);
    restart(&mut place);
    place.nothing_leaked();
}

/// S0-05, and the single-use credential.
fn people(place: &Place) {
    place.hilum(&["person", "list"]).ends(1, "hilum login PERSON");
    let secrets = format!("{}\n{DANA}\n{OMAR}\n{ANN}\n", place.credential);
    place.hilum_with(&PEOPLE, &format!("not-the-credential\n{DANA}\n{OMAR}\n{ANN}\n")).ends(1, "unknown, used up");
    place.hilum_with(&PEOPLE, &format!("{}\nshort\n{OMAR}\n{ANN}\n", place.credential)).ends(1, "15 characters");
    place.hilum(&["person", "first", "dana@mercy.example=boss"]).ends(64, "PERSON=operator");
    place.hilum_with(&PEOPLE, &secrets).ends(0, "privacy-officer");
    place.hilum_with(&["person", "first", "eve@mercy.example=operator"], &secrets).ends(1, "used up");
    place.hilum_with(&["login", "dana@mercy.example"], "wrong\n").ends(1, "do not fit");
    place.login("dana@mercy.example", DANA);
    place.hilum(&["person", "grant", "dana@mercy.example", "privacy-officer"]).ends(1, "their own");
    assert_eq!(place.hilum(&["person", "list", "-o", "json"]).rows().len(), 3);
    place.hilum(&["task", "show", "scheduling"]).ends(0, "patient/Appointment.rs");
    place.hilum(&["task", "list", "--tenant", "nowhere"]).ends(1, "no such tenant here");
    place.hilum(&["audit", "search"]).ends(1, "privacy-officer or auditor");
}

fn registration(place: &Place) {
    let folder = place.folder.path();
    let check = ["check", "--config", "gate/hilum.toml", "--patient", "pat-001", "--patient"];
    let with = |patient: &'static str| [check.as_slice(), &[patient]].concat();
    place.hilum(&with("pat-001")).ends(64, "two different");
    place.hilum(&with("pat-nobody")).ends(1, "nothing counts as proved");
    place.hilum(&with("pat-002")).ends(0, "Appointment?patient");

    for (pem, keys) in [("gate/scheduler.pem", "scheduler.jwks.json"), ("gate/desk.pem", "desk.jwks.json")] {
        let made = place.hilum(&["token", "key", "--out", pem]).ends(0, "ES384");
        fs::write(folder.join("gate").join(keys), made.out).unwrap();
        place.hilum(&["token", "key", "--out", pem]).ends(1, "not overwritten");
    }
    let secret = ["token", "secret", "--out", "gate/fax.secret"];
    place.hilum(&secret).ends(0, "sha256");
    place.hilum(&secret).ends(1, "not overwritten");
    let example = include_str!("../../../docs/examples/local.toml");
    // The example's end is a day of the calendar; the story is not about it.
    let manifest = example.replace("\"2027-12-31\"", &format!("\"{}\"", support::day(300)));
    fs::write(folder.join("gate/local.toml"), &manifest).unwrap();

    let wrong =
        manifest.replace("class = \"launcher\"", "class = \"robot\"").replace("vendor", "vendour") + "\n[[surprise]]\n";
    fs::write(folder.join("gate/wrong.toml"), wrong).unwrap();
    let refused = place.hilum(&["apply", "-f", "gate/wrong.toml"]).ends(1, "several mistakes");
    for (says, text) in [("`vendour` is not a known key", "vendour"), ("`robot`", "\"robot\""), ("surprise", "[[sur")] {
        let wrong = fs::read_to_string(folder.join("gate/wrong.toml")).unwrap();
        let line = wrong.lines().position(|line| line.contains(text)).unwrap() + 1;
        assert!(refused.err.contains(&format!("line {line}: ")), "line {line} of {says}: {}", refused.err);
        assert!(refused.err.contains(says), "{says}: {}", refused.err);
    }
    let with_private = manifest.replace("desk.jwks.json", "desk.pem");
    fs::write(folder.join("gate/wrong.toml"), with_private).unwrap();
    place.hilum(&["apply", "-f", "gate/wrong.toml"]).ends(1, "holds a private key and is not sent");

    place.hilum(&["apply", "-f", "gate/local.toml", "--dry-run"]).ends(0, "nothing was changed");
    assert_eq!(place.hilum(&["integration", "list", "-o", "json"]).rows().len(), 0);
    assert_eq!(place.hilum(&["apply", "-f", "gate/local.toml", "-o", "json"]).rows().len(), 3);
    place.hilum(&["apply", "-f", "gate/local.toml"]).ends(0, "unchanged");

    // S4-05: the roles of the source document load as they are.
    fs::write(folder.join("gate/roles.yaml"), include_str!("../../../docs/examples/roles.yaml")).unwrap();
    place.hilum(&["apply", "-f", "gate/roles.yaml"]).ends(0, "role clinical_ai_reader");
    place.hilum(&["role", "show", "ai_model_trainer"]).ends(0, "isolated-vpc");
    assert_eq!(place.hilum(&["role", "list", "-o", "json"]).rows().len(), 2);
    let wrong = include_str!("../../../docs/examples/roles.yaml").replace("mfa_required", "mfa");
    fs::write(folder.join("gate/wrong.yaml"), &wrong).unwrap();
    place.hilum(&["apply", "-f", "gate/wrong.yaml"]).ends(1, "mfa");
}

/// S0-05: asking is not approving. Gives a token for pat-001.
fn approval(place: &Place) -> String {
    let id = place.hilum(&["approval", "list", "-o", "json"]).rows()[0]["id"].as_str().unwrap().to_owned();
    let until = support::day(200);
    let approve = ["approval", "approve", &id, "--until", &until];
    place.hilum(&approve).ends(1, "role privacy-officer");
    place.token("pat-001").ends(1, "no launch ticket");
    place.login("omar@mercy.example", OMAR);
    let shown =
        place.hilum(&["approval", "show", &id]).ends(0, "read and search Appointment of the session's one patient");
    assert!(shown.out.contains("Replaces the phone queue") && shown.out.contains("Example AI, Inc."), "{}", shown.out);
    place.hilum(&["approval", "approve", &id, "--until", "soon"]).ends(1, "neither a date");
    place.hilum(&["approval", "approve", &id, "--until", "2020-01-01"]).ends(1, "in the past");
    place.hilum(&["apply", "-f", "gate/local.toml"]).ends(1, "role operator");
    place.hilum(&approve).ends(0, "may run `scheduling@1` until");
    place.hilum(&approve).ends(1, "only a request can be approved");
    place.token("pat-nobody").ends(1, "no such record to start from");
    place.token("pat-001").ends(0, "eyJ").out
}

/// S1-03, S1-04, S3-01, S3-02: what is released, refused, and found again in the ledger.
fn reads(place: &Place, token: &str) {
    let (status, body) = place.fhir("Patient/pat-001", token);
    assert!(status == 200 && body.contains("\"pat-001\""), "{status} {body}");
    assert_eq!(place.fhir("Patient/pat-002", token).0, 403);
    assert_eq!(place.fhir("Observation?patient=pat-001", token).0, 403);
    assert_eq!(place.fhir("Patient/pat-001", "nonsense").0, 401);

    place.login("ann@mercy.example", ANN);
    let who = place.hilum(&["audit", "who", "pat-001"]).ends(0, "patient/Patient.rs");
    assert!(who.out.contains("scheduler-1") && who.out.contains("1 released"), "{}", who.out);
    assert!(who.out.lines().all(|line| line.chars().count() <= 120), "{}", who.out);
    let denied = place.hilum(&["audit", "search", "--reason", "other-patient", "-o", "json"]).rows();
    let id = denied[0]["id"].as_str().unwrap();
    assert!(denied[0].get("phi").is_none(), "a search shows nothing sealed");
    place.hilum(&["audit", "show", id]).ends(0, "GET /Patient/pat-002");
    place.hilum(&["explain", id]).ends(0, "other-patient (the request named another patient");
    place.hilum(&["explain", "42"]).ends(64, "tenant/node/index");
    place.hilum(&["explain", "mercy/node-1/99999"]).ends(1, "no such record");
    place.hilum(&["audit", "search", "--kind", "nonsense"]).ends(1, "is none of");

    // DESIGN, step 6: a filter that is ignored is an alert, and refused until `hilum check` proves it, without a restart.
    place.ehr.faults.on(demo_ehr::Fault::IgnoreParameter("patient".to_owned()));
    let (status, body) = place.fhir("Appointment?patient=pat-001", token);
    assert!(status == 200 && !body.contains("appt-002"), "{status} {body}");
    place.ehr.faults.clear();
    assert_eq!(place.fhir("Appointment?patient=pat-001", token).0, 502);
    place.hilum(&["alert", "list"]).ends(0, "the upstream ignored a search filter");
    let alerts = place.hilum(&["alert", "list", "-o", "json"]).rows();
    assert!(alerts[0]["says"].as_str().unwrap().contains("held back") && !alerts[0].to_string().contains("pat-"));
    place.hilum(&["check", "-c", "gate/hilum.toml", "--patient", "pat-001", "--patient", "pat-002"]).ends(0, "filters");
    let proved = (0..40).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        place.fhir("Appointment?patient=pat-001", token).0 == 200
    });
    assert!(proved, "a running gate takes up what was proved");
}

/// S2-02, S2-12: the organisation's own rules, seen before they apply, in force at once, and taken back.
fn policies(place: &Place, token: &str) {
    let write = |name: &str, text: &str| fs::write(place.folder.path().join("gate").join(name), text).unwrap();
    let shipped = place.hilum(&["policy", "default"]).ends(0, "@id(\"hilum-granted\")").out;
    place.hilum(&["policy", "show"]).ends(0, "mercy has no policies of its own");
    write("mercy.cedar", &shipped);
    write("cases.toml", include_str!("../../../docs/examples/policy-cases.toml"));
    place.hilum(&["policy", "test", "gate/mercy.cedar", "gate/cases.toml"]).ends(0, "4 passed");
    let own = format!("{shipped}@id(\"closed\")\nforbid (principal, action, resource == Type::\"Appointment\");\n");
    write("mercy.cedar", &own.replace("Appointment", "Apointment"));
    place.hilum(&["policy", "check", "gate/mercy.cedar"]).ends(1, "1 mistake");
    write("mercy.cedar", &own);
    place.hilum(&["policy", "check", "gate/mercy.cedar"]).ends(0, "closed");
    let today = support::day(0);
    let again = ["policy", "check", "gate/mercy.cedar", "--day", &today];
    let changed = place.hilum(&[again.as_slice(), &["-o", "json"]].concat()).rows();
    assert!(!changed.is_empty(), "appointments were read today");
    let would = |row: &serde_json::Value| row["would_be"] == "denied" && row["by"] == serde_json::json!(["closed"]);
    assert!(changed.iter().all(|row| would(row) && row["asked"] == "search Appointment"), "{changed:?}");

    write("policy.toml", "[[policy]]\ntext_file = \"mercy.cedar\"\n");
    place.hilum(&["apply", "-f", "gate/policy.toml"]).ends(1, "role operator");
    place.login("omar@mercy.example", OMAR);
    place.hilum(&["apply", "-f", "gate/policy.toml", "--dry-run"]).ends(0, "policies: 5");
    assert_eq!(place.fhir("Appointment?patient=pat-001", token).0, 200);
    place.hilum(&["apply", "-f", "gate/policy.toml"]).ends(0, "policies: 5");
    place.hilum(&["policy", "show"]).ends(0, "closed");
    assert_eq!(place.fhir("Appointment?patient=pat-001", token).0, 403);
    assert_eq!(place.fhir("Patient/pat-001", token).0, 200);
    write("mercy.cedar", &shipped);
    place.hilum(&["apply", "-f", "gate/policy.toml"]).ends(0, "update");
    assert_eq!(place.fhir("Appointment?patient=pat-001", token).0, 200);
}

/// S1-05, S1-09: an end takes effect on the next request.
fn switching_off(place: &Place, token: &str) {
    place.login("dana@mercy.example", DANA);
    let live = place.hilum(&["session", "list", "--live", "-o", "json"]).rows();
    place.hilum(&["session", "end", live[0]["id"].as_str().unwrap()]).ends(0, "its token has stopped working");
    assert_eq!(place.fhir("Patient/pat-001", token).0, 401);
    place.hilum(&["session", "end", "nonsense"]).ends(1, "no such session");
    place.hilum(&["key", "rotate"]).ends(0, "verifies until every token");
    assert_eq!(place.hilum(&["key", "list", "-o", "json"]).rows().len(), 2);
}

fn restart(place: &mut Place) {
    let token = place.token("pat-001").ends(0, "eyJ").out;
    let verify = ["audit", "verify", "--config", "gate/hilum.toml"];
    place.hilum(&["serve", "--config", "gate/hilum.toml"]).ends(1, "running already?");
    place.stop();
    let stopped = place.hilum(&[verify.as_slice(), &["-o", "json"]].concat()).rows().remove(0);
    assert_eq!(stopped["clean"], true, "{stopped}");
    place.serve();
    assert_eq!(place.fhir("Patient/pat-001", &token).0, 200, "the session outlives the process");
    assert_eq!(place.hilum(&["approval", "list", "--status", "approved", "-o", "json"]).rows().len(), 1);
    place.hilum(&["integration", "suspend", "scheduler-1", "--reason", "a drill"]).ends(0, "is suspended");
    assert_eq!(place.fhir("Patient/pat-001", &token).0, 401);
    place.hilum(&["integration", "resume", "scheduler-1", "--reason", "over"]).ends(1, "role privacy-officer");
    place.hilum(&["logout"]).ends(0, "signed out");
    place.hilum(&["session", "list"]).ends(1, "hilum login PERSON");
    place.stop();

    // Anyone with the public key can verify a copy; what was kept is a prefix of what is there.
    let key = stopped["key"].as_str().unwrap();
    place.hilum(&["audit", "verify", "--dir", "gate/data/ledger", "--key", key]).ends(0, "verifies: ");
    place.hilum(&["audit", "verify", "--dir", "gate/data/ledger", "--key", "AAAA"]).ends(64, "32 bytes");
    let wal = place.folder.path().join("gate/data/ledger/00000001.wal");
    let mut bytes = fs::read(&wal).unwrap();
    // Well within the first commits: the file itself is laid out longer than what is written.
    bytes[2_000] ^= 1;
    fs::write(&wal, bytes).unwrap();
    place.hilum(&verify).ends(1, "does not verify");
    place.hilum(&["serve", "--config", "gate/hilum.toml"]).ends(1, "ledger");
}

#[test]
fn mistakes_have_their_exit_codes_and_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| hilum(folder.path(), arguments);
    run(&["frobnicate"]).ends(64, "unrecognized");
    run(&["approval", "approve", "x"]).ends(64, "--until");
    run(&["--admin", "nonsense", "person", "list"]).ends(64, "must be a URL");
    run(&["--help"]).ends(0, "hilum demo");
    run(&["init", "gate", "--tenant", "Mercy Health"]).ends(64, "tenant id must be");
    run(&["init", "gate", "--upstream", "http://ehr.example/fhir"]).ends(64, "must be an https URL");
    assert!(!folder.path().join("gate").exists(), "a failed init leaves nothing");
    let made = run(&["init", "gate", "-o", "json"]).rows();
    assert!(made[0]["credential"].as_str().unwrap().len() >= 43);
    run(&["init", "gate"]).ends(1, "choose a new folder");
    run(&["check", "--config", "gate/hilum.toml"]).ends(0, "no mistakes");
    run(&["serve", "--config", "none.toml"]).ends(78, "hilum init DIR");

    let config = folder.path().join("gate/hilum.toml");
    let good = fs::read_to_string(&config).unwrap();
    let bad =
        good.replace("[outbound]", "[outbonud]").replace("kind = \"none\"", "kind = \"bearer\", token = \"hunter2\"");
    fs::write(&config, bad).unwrap();
    let refused = run(&["serve", "--config", "gate/hilum.toml"]).ends(78, "unknown key `outbonud`");
    assert!(refused.err.matches("gate/hilum.toml:").count() >= 2, "{}", refused.err);
    assert!(refused.err.contains("literal secret") && !refused.err.contains("hunter2"), "S0-01: {}", refused.err);

    fs::write(&config, good).unwrap();
    fs::write(folder.path().join("gate/root.key"), "00".repeat(15)).unwrap();
    run(&["serve", "--config", "gate/hilum.toml"]).ends(78, "64 hexadecimal digits");
    fs::remove_file(folder.path().join("gate/root.key")).unwrap();
    run(&["serve", "--config", "gate/hilum.toml"]).ends(78, "root.key");
}

#[test]
fn a_port_in_use_and_a_wrong_root_key_are_told_apart() {
    let mut place = Place::new();
    let held = std::net::TcpListener::bind(place.public.trim_start_matches("http://")).unwrap();
    place.hilum(&["serve", "--config", "gate/hilum.toml"]).ends(1, "change `listen`");
    drop(held);
    place.serve();
    place.stop();
    let key = place.folder.path().join("gate/root.key");
    fs::write(&key, "11".repeat(32)).unwrap();
    place.hilum(&["serve", "--config", "gate/hilum.toml"]).ends(78, "put back the root key");
}
