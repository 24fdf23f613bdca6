//! Configuration mistakes are all reported at once, with their lines (S0-01).

use std::path::Path;

use super::*;

fn no_environment() -> std::iter::Empty<(String, String)> {
    std::iter::empty()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["root.key", "ehr.token"] {
        let path = folder.path().join(name);
        std::fs::write(&path, "00".repeat(32)).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
    folder
}

const GOOD: &str = r#"
[server]
listen = "127.0.0.1:0"
public_url = "http://127.0.0.1:8443"
[store]
url = "sqlite:data/hilum.db"
[ledger]
dir = "data/ledger"
[vault]
root = "file:root.key"
[outbound]
allow_private = ["127.0.0.1"]
[[tenant]]
id = "mercy"
name = "Mercy Health"
[tenant.upstream]
fhir = "http://127.0.0.1:8080/fhir/"
auth = { kind = "bearer", token = "file:ehr.token" }
"#;

#[test]
fn a_small_configuration_is_enough() {
    let folder = folder();
    let config = parse(GOOD, folder.path(), no_environment()).unwrap();
    assert_eq!(config.settings.tenants[0].upstream.fhir, "http://127.0.0.1:8080/fhir");
    assert_eq!(config.settings.admin.listen.to_string(), "127.0.0.1:8444");
    assert_eq!(config.settings.host, "127.0.0.1:8443");
}

#[test]
fn every_mistake_is_reported_with_its_line() {
    let folder = folder();
    let text = GOOD
        .replace("listen = \"127.0.0.1:0\"", "listen = \"0.0.0.0:8443\"\nlisten_on = 3")
        .replace("id = \"mercy\"", "id = \"Mercy\"")
        .replace("kind = \"bearer\"", "kind = \"password\"");
    let mistakes = parse(&text, folder.path(), no_environment()).unwrap_err();
    let has = |line: usize, words: &str| mistakes.iter().any(|m| m.line == line && m.what.contains(words));
    assert!(has(4, "unknown key `server.listen_on`"), "{mistakes:#?}");
    assert!(has(2, "`server.tls` is missing"), "{mistakes:#?}");
    assert!(has(15, "tenant id"), "{mistakes:#?}");
    assert!(has(19, "`password` is no way to authenticate"), "S0-10: {mistakes:#?}");
}

#[test]
fn s0_01_a_literal_secret_is_refused_and_not_repeated() {
    let folder = folder();
    let text = GOOD.replace("file:ehr.token", "hunter2-hunter2");
    let mistakes = parse(&text, folder.path(), no_environment()).unwrap_err();
    assert!(mistakes.iter().any(|m| m.what.contains("literal secret")), "{mistakes:#?}");
    assert!(!format!("{mistakes:?}").contains("hunter2"));
    let environment = [("HILUM_EHR_TOKEN".to_owned(), "hunter2".to_owned())].into_iter();
    let mistakes = parse(GOOD, folder.path(), environment).unwrap_err();
    assert!(
        mistakes.iter().any(|m| m.what.contains("HILUM_EHR_TOKEN")) && !format!("{mistakes:?}").contains("hunter2")
    );
}

#[cfg(unix)]
#[test]
fn a_root_key_that_others_can_read_or_that_lies_with_the_data_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    std::fs::set_permissions(folder.path().join("root.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let mistakes = parse(GOOD, folder.path(), no_environment()).unwrap_err();
    assert!(mistakes.iter().any(|m| m.what.contains("read by others")), "{mistakes:#?}");
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::rename(folder.path().join("root.key"), folder.path().join("data/root.key")).unwrap();
    let text = GOOD.replace("file:root.key", "file:data/root.key");
    let mistakes = parse(&text, folder.path(), no_environment()).unwrap_err();
    assert!(mistakes.iter().any(|m| m.what.contains("inside the data folder")), "{mistakes:#?}");
}

#[test]
fn broken_toml_names_its_line() {
    let mistakes = parse("[server]\nlisten = \n", Path::new("."), no_environment()).unwrap_err();
    assert_eq!(mistakes[0].line, 2, "{mistakes:?}");
}

#[test]
fn a_private_upstream_must_be_allowed_by_name() {
    let folder = folder();
    let text = GOOD.replace("allow_private = [\"127.0.0.1\"]", "allow_private = []");
    let mistakes = parse(&text, folder.path(), no_environment()).unwrap_err();
    assert!(mistakes.iter().any(|m| m.what.contains("allow_private")), "{mistakes:#?}");
}

/// S4-08: a relying party is a name; an address would fail in every browser, and only when somebody enrols.
#[test]
fn the_pages_are_at_a_name() {
    let folder = folder();
    let with = |url: &str| {
        let text = format!("{GOOD}\n").replace("[store]", &format!("[admin]\npublic_url = \"{url}\"\n[store]"));
        parse(&text, folder.path(), no_environment()).map(|config| config.settings.admin_url)
    };
    assert_eq!(parse(GOOD, folder.path(), no_environment()).unwrap().settings.admin_url, None);
    for url in ["https://gate-admin.mercy.example", "http://localhost:8444"] {
        assert_eq!(with(url).unwrap().as_deref(), Some(url));
    }
    for url in
        ["http://127.0.0.1:8444", "https://10.0.0.5", "http://gate.example", "https://gate.example/console", "gate"]
    {
        let mistakes = with(url).unwrap_err();
        assert!(mistakes[0].line == 6 && mistakes[0].what.contains("bound to a name"), "{url}: {mistakes:?}");
    }
}
