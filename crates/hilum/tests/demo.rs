//! `hilum demo --tour` as a newcomer runs it: every step ends as it says, and nothing that opens a door is printed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use std::process::Command;

use serde_json::Value;

/// Longest run of token characters after `eyJ`, the beginning of every JWT: the tour shows 12 at most.
fn token_shown(text: &str) -> usize {
    let starts = text.match_indices("eyJ").map(|(at, _)| &text[at..]);
    let run = |rest: &str| rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b)).count();
    starts.map(run).max().unwrap_or(0)
}

#[test]
fn the_tour_ends_as_it_says() {
    let ran = Command::new(env!("CARGO_BIN_EXE_hilum")).args(["demo", "--tour", "-o", "json"]).output().unwrap();
    let (out, err) = (String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap());
    assert_eq!(ran.status.code(), Some(0), "{err}");
    let steps: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(steps.len() >= 15, "{}", steps.len());
    for (number, step) in steps.iter().enumerate() {
        assert_eq!(step["step"], number + 1);
        assert_eq!(step["ok"], true, "{step}");
        assert!(!step["expected"].as_str().unwrap().is_empty(), "{step}");
    }
    let titled = |words: &str| steps.iter().find(|step| step["title"].as_str().unwrap().contains(words)).unwrap();
    assert_eq!(titled("it reads its patient")["status"], 200);
    assert_eq!(titled("an appointment of another patient")["status"], 404);
    assert_eq!(titled("everything at once")["status"], 403);
    let told = &titled("it reads the patient: a year")["answer"];
    assert!(told["birthDate"].as_str().unwrap().len() == 4 && told["name"].is_null(), "{told}");
    assert_eq!(titled("by its real id")["status"], 403);
    assert_eq!(titled("the next request with its token")["status"], 401);
    assert!(titled("people were told")["answer"]["says"].as_str().unwrap().contains("ignored a search filter"));
    assert!(token_shown(&out) <= 12 && token_shown(&err) <= 12, "a token was printed");
    let ticket = titled("asks for a launch ticket")["answer"]["launch"].as_str().unwrap();
    assert!(ticket.contains('…') && ticket.chars().take_while(|letter| *letter != '…').count() <= 12, "{ticket}");
}

#[test]
fn the_ehr_alone_can_be_empty_and_misbehave() {
    let mut running = Command::new(env!("CARGO_BIN_EXE_hilum"))
        .args(["demo", "--ehr", "127.0.0.1:0", "--empty", "--fault", "total=7", "--fault", "odd-headers", "-o", "json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(running.stdout.take().unwrap()), &mut line).unwrap();
    running.kill().unwrap();
    running.wait().unwrap();
    let told: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&told["patients"], &told["faults"]), (&0.into(), &2.into()), "{line}");
    assert!(told["ehr"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{line}");
    let help = Command::new(env!("CARGO_BIN_EXE_hilum")).args(["demo", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for words in ["foreign-match=TYPE/ID", "status=STATUS", "[202]", "odd-headers"] {
        assert!(help.contains(words), "{words}: {help}");
    }
}

#[test]
fn the_ehr_alone_launches_the_apps_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.json");
    let app = |launch: &str| {
        format!(
            r#"{{"client_id": "hilum", "jwks_url": "http://127.0.0.1:9/jwks", "redirect_uris": ["http://127.0.0.1:9/cb"], "{launch}": "http://127.0.0.1:9/launch"}}"#
        )
    };
    std::fs::write(&file, app("launch_url")).unwrap();
    let demo = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hilum"));
        command.args(["demo", "--ehr", "127.0.0.1:0", "-o", "json", "--ehr-client"]).arg(&file);
        command
    };
    let mut running = demo().stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(running.stdout.take().unwrap()), &mut line).unwrap();
    running.kill().unwrap();
    running.wait().unwrap();
    let told: Value = serde_json::from_str(&line).unwrap();
    let origin = told["ehr"].as_str().unwrap().strip_suffix("/fhir").unwrap();
    assert_eq!(told["launch"], format!("{origin}/launch"), "{line}");
    for wrong in ["".to_owned(), "[]".to_owned(), "{}".to_owned(), app("lunch_url")] {
        std::fs::write(&file, &wrong).unwrap();
        let ran = demo().output().unwrap();
        assert_eq!(ran.status.code(), Some(64), "`{wrong}`");
        assert!(String::from_utf8_lossy(&ran.stderr).contains("--ehr-client"), "`{wrong}`");
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(demo().output().unwrap().status.code(), Some(64));
}

#[test]
fn a_demonstration_of_nonsense_is_a_usage_mistake() {
    for arguments in [
        &["demo", "--patients", "3"][..],
        &["demo", "--ehr", "0.0.0.0:0"],
        &["demo", "--seed", "x"],
        &["demo", "--empty"],
        &["demo", "--fault", "gone"],
        &["demo", "--ehr-client", "app.json"],
        &["demo", "--ehr", "127.0.0.1:0", "--fault", "nonsense"],
        &["demo", "--ehr", "127.0.0.1:0", "--fault", "total=many"],
    ] {
        let ran = Command::new(env!("CARGO_BIN_EXE_hilum")).args(arguments).output().unwrap();
        assert_eq!(ran.status.code(), Some(64), "{arguments:?}");
        assert!(!ran.stderr.is_empty(), "{arguments:?}");
    }
}
