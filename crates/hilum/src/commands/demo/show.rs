//! How the tour is shown: a few lines per step for people, one object per step for programs.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::apps::{self, Account};
use super::hospital::{ANALYTICS, Hospital, OFFICER, OPERATOR, SCHEDULER};
use super::http::Exchange;
use super::tour;
use crate::cli::Failure;
use crate::output::{self, Format};

/// Longest line of an excerpt before it is cut.
const LINE_MAX: usize = 160;
/// Most lines of an excerpt.
const LINES_MAX: usize = 14;

/// One step of the tour.
pub struct Step<'a> {
    /// From 1.
    pub number: u32,
    /// What happens, in a sentence.
    pub title: &'a str,
    /// What it must end in.
    pub expected: &'a str,
    /// What was sent and came back; none for what is done on the spot.
    pub exchange: Option<&'a Exchange>,
    /// Whether it ended so.
    pub ended: bool,
    /// What is worth seeing of the answer.
    pub excerpt: Value,
}

/// Says what was started.
pub fn opening(hospital: &Hospital, format: Format) {
    let patients = hospital.patients;
    if format == Format::Json {
        return;
    }
    output::line(&output::styled("1", "hilum demo"));
    output::line(&format!(
        "  EHR   {}   {patients} synthetic patients; a demonstration upstream, not a FHIR server product",
        hospital.ehr.base_url
    ));
    output::line(&format!("  gate  {}", hospital.fhir()));
    output::line(&format!("  admin {}", hospital.admin));
    output::line(&format!(
        "  {OPERATOR} registered three agents, three apps and a launcher; {OFFICER} approved. Nobody does both."
    ));
    output::line("");
}

/// Shows one step.
pub fn step(format: Format, step: &Step<'_>) {
    let exchange = step.exchange;
    if format == Format::Json {
        let object = json!({
            "step": step.number, "title": step.title, "method": exchange.map(|e| e.method.as_str()),
            "url": exchange.map(|e| &e.url), "expected": step.expected, "status": exchange.map(|e| e.status),
            "ok": step.ended, "answer": step.excerpt
        });
        output::line(&object.to_string());
        return;
    }
    output::line(&output::styled("1", &format!("{:>2}. {}", step.number, step.title)));
    if let Some(exchange) = exchange {
        output::line(&format!("    {} {}", output::styled("36", exchange.method.as_str()), exchange.url));
    }
    let (style, mark) = if step.ended { ("32", "as it should") } else { ("1;31", "NOT as it should") };
    let status = output::styled(style, &exchange.map_or_else(String::new, |exchange| exchange.status.to_string()));
    output::line(&format!("    {status}  {}", output::styled(style, &format!("{mark} ({})", step.expected))));
    for line in excerpt(&step.excerpt) {
        output::line(&format!("      {}", output::styled("2", &line)));
    }
    output::line("");
}

/// Says how the tour ended.
pub fn closing(failed: u32, format: Format) {
    match (format, failed) {
        (Format::Json, _) => {}
        (Format::Table, 0) => output::line(&output::styled("1;32", "The tour ended as it should, every step of it.")),
        (Format::Table, failed) => {
            output::line(&output::styled("1;31", &format!("{failed} step(s) of the tour did not end as they should.")));
        }
    }
}

/// What to try while it stays up: a fresh token and requests with it.
pub async fn staying(hospital: &Hospital, format: Format) -> Result<(), Failure> {
    let (_, token) = tour::session(hospital, SCHEDULER, "scheduling", tour::PATIENT).await?;
    let token = token.text("/access_token").to_owned();
    let (fhir, admin) = (hospital.fhir(), &hospital.admin);
    let ledger = hospital.ledger();
    if format == Format::Json {
        let mut told = addresses(hospital);
        if let Some(told) = told.as_object_mut() {
            told.insert("token".to_owned(), token.into());
        }
        output::line(&told.to_string());
        return Ok(());
    }
    output::line("");
    output::line(&format!("Still up. Try it yourself; this token is for patient {} and 15 minutes:", tour::PATIENT));
    output::line(&format!("  T={token}"));
    for path in [
        format!("Patient/{}", tour::PATIENT),
        "Appointment?_sort=date".into(),
        "Patient/pat-002".into(),
        "metadata".into(),
    ] {
        output::line(&format!("  curl -s -H \"Authorization: Bearer $T\" '{fhir}/{path}'"));
    }
    let (_, told) = tour::session(hospital, ANALYTICS, "intake", tour::PATIENT).await?;
    let (token, surrogate) = (told.text("/access_token"), told.text("/patient"));
    output::line("The same patient for an agent whose role is de-identified only, which is told a surrogate:");
    output::line(&format!("  curl -s -H 'Authorization: Bearer {token}' '{fhir}/Patient/{surrogate}'"));
    let program = std::env::current_exe().map_or_else(|_| "hilum".to_owned(), |path| path.display().to_string());
    let key = STANDARD.encode(hospital.ledger_key()?.0);
    output::line(&format!("  {program} audit verify --dir {} --key {key}", ledger.display()));
    people(hospital);
    output::line(&format!("  curl -s {admin}/readyz"));
    output::note("ctrl-c ends it");
    Ok(())
}

/// Who can sign in, and where apps start.
pub fn people(hospital: &Hospital) {
    output::line("People sign in with these accounts of the demonstration (name / password):");
    for account in apps::accounts() {
        let Account { username, password, name, fhir_user } = account;
        output::line(&format!("  {username:8} / {password:8} {name}, {fhir_user}"));
    }
    output::line(&format!("What they allowed, they see and end at {}/oauth/grants", hospital.issuer));
    output::line(&format!(
        "Apps that are approved: {} (public), {} and {} (keys in {}); they listen at {}",
        apps::PATIENT_APP,
        apps::CLINICIAN_APP,
        apps::VISIT_AGENT,
        hospital.folder.path.display(),
        apps::APP
    ));
    if let Some(page) = hospital.ehr.launch_page() {
        output::line(&format!("The EHR launches them through the gate: {page}"));
    }
}

/// Every address, for programs.
pub fn addresses(hospital: &Hospital) -> Value {
    json!({
        "fhir": hospital.fhir(), "issuer": hospital.issuer, "admin": hospital.admin, "ehr": hospital.ehr.base_url,
        "launch": hospital.ehr.launch_page(), "ledger": hospital.ledger(), "keys": hospital.folder.path
    })
}

/// Chosen members of an object.
pub fn members(value: &Value, names: &[&str]) -> Value {
    let chosen = names.iter().filter_map(|name| Some(((*name).to_owned(), value.get(name)?.clone())));
    Value::Object(chosen.collect::<Map<_, _>>())
}

/// An object with one member shortened: a token or ticket is never shown whole in passing.
pub fn secret(value: &Value, name: &str) -> Value {
    let mut shown = value.clone();
    if let Some(Value::String(text)) = shown.get_mut(name) {
        let head: String = text.chars().take(12).collect();
        *text = format!("{head}… ({} characters)", text.len());
    }
    shown
}

/// What an OperationOutcome says.
pub fn outcome(value: &Value) -> Value {
    let issue = value.pointer("/issue/0").cloned().unwrap_or_default();
    let says = issue.get("diagnostics").or_else(|| issue.pointer("/details/text")).cloned().unwrap_or_default();
    json!({"code": issue.get("code"), "says": says})
}

/// A claim of a JWT, unverified: the tour only wants to name its own session.
pub fn claim(token: &str, name: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    claims.get(name)?.as_str().map(str::to_owned)
}

/// RFC 3339 with seconds, for manifests.
pub fn timestamp(millis: i64) -> String {
    let format = time::format_description::well_known::Rfc3339;
    let moment = time::OffsetDateTime::from_unix_timestamp(millis / 1000).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    moment.format(&format).unwrap_or_default()
}

/// An excerpt as `name: value` lines, cut to what a screen holds.
fn excerpt(value: &Value) -> Vec<String> {
    let cut = |text: String| {
        if text.chars().count() <= LINE_MAX {
            text
        } else {
            format!("{}…", text.chars().take(LINE_MAX).collect::<String>())
        }
    };
    let plain = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().any(Value::is_object) => format!("{} of them", items.len()),
        other => other.to_string(),
    };
    let lines: Vec<String> = match value {
        Value::Null => Vec::new(),
        Value::Object(members) => members
            .iter()
            .filter(|(_, member)| !member.is_null())
            .map(|(name, member)| cut(format!("{name}: {}", plain(member).replace('\n', " "))))
            .collect(),
        Value::Array(items) => items.iter().map(|item| cut(plain(item))).collect(),
        other => vec![cut(plain(other))],
    };
    lines.into_iter().take(LINES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_shortened_and_long_lines_cut() {
        let shown = secret(&json!({"access_token": "a".repeat(400), "expires_in": 900}), "access_token");
        assert_eq!(shown["access_token"], "aaaaaaaaaaaa… (400 characters)");
        let lines = excerpt(&json!({"long": "b".repeat(400), "none": null}));
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].chars().count(), LINE_MAX + 1);
    }

    #[test]
    fn a_claim_is_read_from_a_token() {
        let token = format!("x.{}.y", URL_SAFE_NO_PAD.encode(br#"{"sid":"s1"}"#));
        assert_eq!(claim(&token, "sid").as_deref(), Some("s1"));
        assert_eq!(claim("nonsense", "sid"), None);
        assert_eq!(timestamp(1_795_398_735_000), "2026-11-23T01:52:15Z");
    }
}
