//! Secrets by reference: a literal secret in the file or the environment is refused by name (S0-01).

use std::path::{Path, PathBuf};

use super::section::{At, Section};

/// Schemes DESIGN names that this release does not read yet.
const LATER: [&str; 4] = ["vault:", "aws-sm:", "pkcs11:", "gcp-sm:"];

/// The path of a `file:` reference that exists; anything else is a mistake, and a literal is never repeated in it.
pub fn file(section: &Section<'_, '_>, at: &At<String>, folder: &Path) -> Option<PathBuf> {
    if let Some(path) = at.value.strip_prefix("file:") {
        let path = folder.join(path);
        if let Err(why) = std::fs::metadata(&path) {
            section.mistake_at(at, format!("cannot read `{}`: {why}", path.display()));
            return None;
        }
        return Some(path);
    }
    if let Some(scheme) = LATER.iter().find(|scheme| at.value.starts_with(**scheme)) {
        section.mistake_at(at, format!("`{scheme}` references are not read by this release; use file:PATH"));
    } else {
        section.mistake_at(at, "a literal secret is refused (S0-01): write it to a file that only Hilum can read and refer to it as file:PATH");
    }
    None
}

/// Names of `HILUM_…` environment variables that look like secrets; their values are never repeated.
pub fn environment_secrets(environment: impl Iterator<Item = (String, String)>) -> Vec<String> {
    const WORDS: [&str; 5] = ["SECRET", "PASSWORD", "TOKEN", "KEY", "CREDENTIAL"];
    environment
        .filter(|(name, value)| {
            name.starts_with("HILUM_")
                && WORDS.iter().any(|word| name.split('_').any(|part| part == *word))
                && !value.is_empty()
                && !value.starts_with("file:")
        })
        .map(|(name, _)| name)
        .collect()
}
