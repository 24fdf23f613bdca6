//! Manifests as files: `jwks_file = "NAME"` becomes the key set it names, so that a manifest can be kept without keys in it.
//! The line stays the line, so every mistake the gate finds is at the line people see.

use std::fs;
use std::ops::Range;
use std::path::Path;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

/// Longest key set or manifest read: the gate takes 1 MiB in all.
const BYTES_MAX: u64 = 1024 * 1024;

/// What a key set holds that is private (RFC 7518 §6): such a file is never sent.
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];

/// A manifest that cannot be sent; each line names its place.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", .0.iter().map(|(line, what)| format!("line {line}: {what}")).collect::<Vec<_>>().join("\n"))]
pub struct InvalidManifest(pub Vec<(usize, String)>);

/// `text` with each `auth.keys.jwks_file` replaced by `jwks`; paths start at `folder`. Text that is no TOML is left to the gate.
///
/// # Errors
/// Every file that cannot be read, is no key set, or holds a private key.
pub fn with_keys(text: &str, folder: &Path) -> Result<String, InvalidManifest> {
    let Ok(table) = DeTable::parse(text) else { return Ok(text.to_owned()) };
    let integrations = table.get_ref().get("integration").and_then(|value| value.get_ref().as_array());
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    let mut mistakes: Vec<(usize, String)> = Vec::new();
    for integration in integrations.into_iter().flat_map(|array| array.iter()) {
        let keys = integration
            .get_ref()
            .as_table()
            .and_then(|table| inner(table, "auth"))
            .and_then(|auth| inner(auth, "keys"));
        let Some((key, value)) =
            keys.and_then(|keys| keys.iter().find(|(key, _)| key.get_ref().as_ref() == "jwks_file"))
        else {
            continue;
        };
        let line = text.bytes().take(key.span().start).filter(|byte| *byte == b'\n').count() + 1;
        let DeValue::String(name) = value.get_ref() else {
            mistakes.push((line, "`jwks_file` must be the name of a file, in quotes".into()));
            continue;
        };
        match key_set(&folder.join(name.as_ref())) {
            Ok(keys) => {
                edits.push((key.span(), "jwks".into()));
                edits.push((value.span(), Value::from(keys).to_string()));
            }
            Err(why) => mistakes.push((line, format!("`jwks_file`: `{name}` {why}"))),
        }
    }
    if !mistakes.is_empty() {
        return Err(InvalidManifest(mistakes));
    }
    // From the end, so that earlier places keep theirs.
    edits.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    let mut out = text.to_owned();
    edits.into_iter().for_each(|(span, with)| out.replace_range(span, &with));
    Ok(out)
}

fn inner<'a, 't>(table: &'a DeTable<'t>, name: &str) -> Option<&'a DeTable<'t>> {
    table.get(name)?.get_ref().as_table()
}

/// The file as one line of JSON.
fn key_set(path: &Path) -> Result<String, String> {
    let size = fs::metadata(path).map_err(|why| format!("cannot be read: {why}; `hilum token key` makes one"))?.len();
    if size > BYTES_MAX {
        return Err("is too long for a key set".into());
    }
    let text = fs::read_to_string(path).map_err(|why| format!("cannot be read: {why}"))?;
    let private = "holds a private key and is not sent; name the public key set that `hilum token key` printed";
    if text.contains("PRIVATE KEY") {
        return Err(private.into());
    }
    let set: Value = serde_json::from_str(&text).map_err(|_| "is not a JWK Set (JSON)".to_owned())?;
    let keys = set.get("keys").and_then(Value::as_array).ok_or("is not a JWK Set: it has no `keys`")?;
    if std::iter::once(&set).chain(keys).any(|key| PRIVATE.iter().any(|name| key.get(name).is_some())) {
        return Err(private.into());
    }
    Ok(set.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_takes_its_place_and_every_line_stays() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.json"), "{\n \"keys\": [{\"kid\": \"1\"}]\n}").unwrap();
        let text = "[[integration]]\nid = \"a\"\nauth = { keys = { jwks_file = \"a.json\" } } # why\nname = \"A\"\n";
        let with = with_keys(text, folder.path()).unwrap();
        assert_eq!(with.lines().count(), text.lines().count());
        assert!(with.contains(r##"jwks = "{\"keys\":[{\"kid\":\"1\"}]}" } } # why"##), "{with}");
        assert!(DeTable::parse(&with).is_ok());
        assert_eq!(with_keys("not toml [", folder.path()).unwrap(), "not toml [");
    }

    #[test]
    fn a_private_key_is_never_sent_and_every_mistake_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.pem"), "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n").unwrap();
        fs::write(folder.path().join("b.json"), r#"{"keys":[{"kty":"EC","d":"c2VjcmV0"}]}"#).unwrap();
        let one = |name: &str| format!("[[integration]]\nauth = {{ keys = {{ jwks_file = {name} }} }}\n");
        let text = ["\"a.pem\"", "\"b.json\"", "\"none\"", "3"].map(one).concat();
        let InvalidManifest(mistakes) = with_keys(&text, folder.path()).unwrap_err();
        assert_eq!(mistakes.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 4, 6, 8], "{mistakes:?}");
        assert!(mistakes.iter().take(2).all(|(_, what)| what.contains("private key")), "{mistakes:?}");
        assert!(!format!("{mistakes:?}").contains("c2VjcmV0"));
    }
}
