//! Manifests as files: `jwks_file = "NAME"` becomes the key set it names, so that a manifest can be kept without keys in it,
//! and `text_file = "NAME"` the policies it names, so that those can be checked and kept as they are.
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

/// A key of a manifest that names a file, and the key that holds what is in it.
struct Named {
    /// The array of tables it stands in.
    list: &'static str,
    /// The tables within each of those.
    within: &'static [&'static str],
    key: &'static str,
    becomes: &'static str,
    read: fn(&Path) -> Result<String, String>,
}

const NAMED: [Named; 2] = [
    Named { list: "integration", within: &["auth", "keys"], key: "jwks_file", becomes: "jwks", read: key_set },
    Named { list: "policy", within: &[], key: "text_file", becomes: "text", read: policies },
];

/// `text` with each `auth.keys.jwks_file` replaced by `jwks`, and each `text_file` of a policy by `text`; paths start at
/// `folder`. Text that is no TOML is left to the gate.
///
/// # Errors
/// Every file that cannot be read, is no key set, or holds a private key.
pub fn with_files(text: &str, folder: &Path) -> Result<String, InvalidManifest> {
    let Ok(table) = DeTable::parse(text) else { return Ok(text.to_owned()) };
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    let mut mistakes: Vec<(usize, String)> = Vec::new();
    for Named { list, within, key: named, becomes, read } in NAMED {
        let tables = table.get_ref().get(list).and_then(|value| value.get_ref().as_array());
        for outer in tables.into_iter().flat_map(|array| array.iter()) {
            let Some(outer) = outer.get_ref().as_table() else { continue };
            let table = within.iter().try_fold(outer, |table, name| inner(table, name));
            let Some((key, value)) =
                table.and_then(|table| table.iter().find(|(key, _)| key.get_ref().as_ref() == named))
            else {
                continue;
            };
            let line = text.bytes().take(key.span().start).filter(|byte| *byte == b'\n').count() + 1;
            let DeValue::String(name) = value.get_ref() else {
                mistakes.push((line, format!("`{named}` must be the name of a file, in quotes")));
                continue;
            };
            match read(&folder.join(name.as_ref())) {
                Ok(content) => {
                    edits.push((key.span(), becomes.into()));
                    edits.push((value.span(), Value::from(content).to_string()));
                }
                Err(why) => mistakes.push((line, format!("`{named}`: `{name}` {why}"))),
            }
        }
    }
    if !mistakes.is_empty() {
        mistakes.sort();
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

/// The file, unless it is longer than any manifest.
fn whole(path: &Path) -> Result<String, String> {
    let size = fs::metadata(path).map_err(|why| format!("cannot be read: {why}"))?.len();
    if size > BYTES_MAX {
        return Err("is too long".into());
    }
    fs::read_to_string(path).map_err(|why| format!("cannot be read: {why}"))
}

/// Cedar text, as it is: the gate says what is wrong with it, `hilum policy check` says where.
fn policies(path: &Path) -> Result<String, String> {
    whole(path).map_err(|why| format!("{why}; `hilum policy default` prints some to start from"))
}

/// The file as one line of JSON.
fn key_set(path: &Path) -> Result<String, String> {
    let text = whole(path).map_err(|why| format!("{why}; `hilum token key` makes one"))?;
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
        let with = with_files(text, folder.path()).unwrap();
        assert_eq!(with.lines().count(), text.lines().count());
        assert!(with.contains(r##"jwks = "{\"keys\":[{\"kid\":\"1\"}]}" } } # why"##), "{with}");
        assert!(DeTable::parse(&with).is_ok());
        assert_eq!(with_files("not toml [", folder.path()).unwrap(), "not toml [");
        fs::write(folder.path().join("a.cedar"), "@id(\"a\")\npermit (principal, action, resource);\n").unwrap();
        let with = with_files("[[policy]]\ntext_file = \"a.cedar\" # ours\n", folder.path()).unwrap();
        assert_eq!(with, "[[policy]]\ntext = \"@id(\\\"a\\\")\\npermit (principal, action, resource);\\n\" # ours\n");
    }

    #[test]
    fn a_private_key_is_never_sent_and_every_mistake_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.pem"), "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n").unwrap();
        fs::write(folder.path().join("b.json"), r#"{"keys":[{"kty":"EC","d":"c2VjcmV0"}]}"#).unwrap();
        let one = |name: &str| format!("[[integration]]\nauth = {{ keys = {{ jwks_file = {name} }} }}\n");
        let text = ["\"a.pem\"", "\"b.json\"", "\"none\"", "3"].map(one).concat();
        let InvalidManifest(mistakes) = with_files(&text, folder.path()).unwrap_err();
        assert_eq!(mistakes.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 4, 6, 8], "{mistakes:?}");
        assert!(mistakes.iter().take(2).all(|(_, what)| what.contains("private key")), "{mistakes:?}");
        assert!(!format!("{mistakes:?}").contains("c2VjcmV0"));
    }
}
