//! What a de-identified session is answered: everything that `policy` released goes through `deid`, and what stands around it is
//! written anew. There is no way around: an answer that cannot be made safe is refused whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use deid::{Counts, Original, Profile, SurrogateError, Surrogates};
use domain::audit::AuditRecord;
use domain::{Reason, Session};
use fhir::json::{Document, Value, quote_into};
use fhir::{Id, ResourceType};
use http::StatusCode;
use policy::{Released, TenantRules};

use super::{Veil, no_surrogates, told, year};
use crate::error::Refusal;
use crate::gate::Gate;
use crate::hex::hex;
use crate::surrogates::{Stood, Told};

/// What stands in for a surrogate while it is found out which are needed; never leaves.
const PLACEHOLDER: &str = "00000000-0000-4000-8000-000000000000";

/// Most originals in one answer that have no surrogate yet: several times a page of 200 with everything it refers to.
const ORIGINALS_MAX: usize = 2_000;

/// How a page link names its token.
const TOKEN: &str = "?_hilum=";

static SAFE_HARBOR: LazyLock<Option<Profile>> = LazyLock::new(|| Profile::safe_harbor(sha256).ok());

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.iter_mut().zip(digest(&SHA256, bytes).as_ref()).for_each(|(to, from)| *to = *from);
    out
}

/// What was done to an answer, for its record.
pub(in crate::gate) struct Report {
    profile: [u8; 32],
    counts: Counts,
}

impl Report {
    /// Adds it to the record of the release.
    pub(in crate::gate) fn write(&self, record: &mut AuditRecord) {
        let Counts { kept, known, generalized, surrogates, substituted, dropped, not_understood } = self.counts;
        let values = format!(
            "kept {kept}, known {known}, generalized {generalized}, surrogates {surrogates}, substituted {substituted}, \
             dropped {dropped}, not understood {not_understood}"
        );
        record.phi.attributes.push(("deid.profile".to_owned(), hex(&self.profile)));
        record.phi.attributes.push(("deid.values".to_owned(), values));
        record.phi.attributes.sort();
    }
}

/// The surrogates that are known so far, and what else was asked for.
struct Table<'t> {
    told: &'t Told,
    missing: BTreeSet<Stood>,
    home: [&'t str; 2],
}

impl Table<'_> {
    fn of(&mut self, stood: Stood) -> Result<Id, SurrogateError> {
        if let Some(surrogate) = self.told.get(&stood) {
            return Ok(surrogate.clone());
        }
        self.missing.insert(stood);
        PLACEHOLDER.parse().map_err(|_| SurrogateError)
    }
}

impl Surrogates for Table<'_> {
    fn surrogate(&mut self, original: Original<'_>) -> Result<Id, SurrogateError> {
        // One thing has one surrogate, however a reference spells where it is.
        self.of(match original {
            Original::Instance { base: Some(base), kind, id } if self.home.contains(&base) => Stood::instance(kind, id),
            other => Stood::from(other),
        })
    }
}

impl Gate {
    /// The answer as the session may have it. Text of our own, which says the same to everybody, stays as it is.
    pub(in crate::gate) async fn veiled(
        &self,
        veil: &Veil,
        session: &Session,
        rules: &TenantRules,
        released: Released,
    ) -> Result<(Released, Option<Report>), Refusal> {
        if released.status() != 200 {
            if released.counts().released > 0 {
                return Err(not_safe());
            }
            let body = in_fixed_words(&released)?;
            return released.veiled(body).map(|released| (released, None)).ok_or_else(not_safe);
        }
        let now = self.clock.now();
        let writing = Writing {
            profile: SAFE_HARBOR.as_ref().ok_or_else(not_safe)?,
            year: year(now)?,
            home: [&rules.public_base, &rules.upstream_base],
            kind: released.kind(),
            is_list: matches!(released.interaction_name(), "search" | "lastn" | "page"),
        };
        let patient = Stood::instance(ResourceType::PATIENT, veil.patient.as_str());
        let mut told = Told::from([(patient, veil.surrogate.clone())]);
        // Once to see what needs a surrogate, and once with all of them.
        for _ in 0..2 {
            let mut table = Table { told: &told, missing: BTreeSet::new(), home: writing.home };
            let (body, counts) = writing.write(released.body(), &mut table)?;
            let missing = table.missing;
            if missing.is_empty() {
                let report = Report { profile: writing.profile.digest, counts };
                return released.veiled(body).map(|released| (released, Some(report))).ok_or_else(not_safe);
            }
            if missing.len() > ORIGINALS_MAX {
                let says = "the answer refers to too many resources; ask for less at once";
                return Err(Refusal::new(Reason::TooCostly, says));
            }
            let made = self.surrogates.find_or_make(&veil.owner, &missing, session.expires_at, now).await;
            told.extend(made.map_err(no_surrogates)?);
        }
        Err(not_safe())
    }
}

/// What is answered in place of data: the status that was found, in words that depend on it alone.
fn in_fixed_words(released: &Released) -> Result<Vec<u8>, Refusal> {
    let status = StatusCode::from_u16(released.status()).map_err(|_| not_safe())?;
    let refusal = Refusal::new(released.reason().unwrap_or(Reason::UpstreamBroken), "");
    Ok(told(Refusal { status, ..refusal }).outcome())
}

/// Nothing more is said: what it was that could not be understood may itself be telling.
fn not_safe() -> Refusal {
    Refusal::new(Reason::DeIdentified, "this answer cannot be de-identified, so nothing of it leaves")
}

/// Why an entry is in a searchset (R4 SearchEntryMode), in the order in which they are told.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Mode {
    Match,
    Include,
    Outcome,
}

impl Mode {
    const ALL: [Self; 3] = [Self::Match, Self::Include, Self::Outcome];

    fn as_str(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Include => "include",
            Self::Outcome => "outcome",
        }
    }
}

/// What one answer is written by.
struct Writing<'a> {
    profile: &'a Profile,
    year: u16,
    /// Our own FHIR base, and the upstream's: what is said to be at either is the upstream's own.
    home: [&'a str; 2],
    kind: ResourceType,
    is_list: bool,
}

impl Writing<'_> {
    fn write(&self, body: &[u8], table: &mut Table<'_>) -> Result<(Vec<u8>, Counts), Refusal> {
        let document = Document::parse(body).map_err(|_| not_safe())?;
        if self.is_list {
            return self.searchset(document.root(), table);
        }
        let mut counts = Counts::default();
        let bytes = self.resource(self.kind, document.root(), table, &mut counts)?;
        Ok((bytes, counts))
    }

    fn resource(
        &self,
        kind: ResourceType,
        resource: Value<'_>,
        table: &mut Table<'_>,
        counts: &mut Counts,
    ) -> Result<Vec<u8>, Refusal> {
        let done = deid::deidentify(kind, resource, self.profile, self.year, table).map_err(|_| not_safe())?;
        counts.add(&done.report.counts);
        Ok(done.bytes)
    }

    /// A searchset of ours, as `policy` builds it, built anew once more: entries, and the link to the next page.
    fn searchset(&self, bundle: Value<'_>, table: &mut Table<'_>) -> Result<(Vec<u8>, Counts), Refusal> {
        let is = |name: &str, wanted: &str| bundle.get(name).is_some_and(|value| value.is_str(wanted));
        if !is("resourceType", "Bundle") || !is("type", "searchset") {
            return Err(not_safe());
        }
        let mut counts = Counts::default();
        let mut out = br#"{"resourceType":"Bundle","meta":{"security":["#.to_vec();
        out.extend_from_slice(deid::LABEL.as_bytes());
        out.extend_from_slice(br#"]},"type":"searchset""#);
        if let Some(next) = self.next(bundle, table)? {
            out.extend_from_slice(br#","link":[{"relation":"next","url":"#);
            quote_into(&mut out, &next);
            out.extend_from_slice(b"}]");
        }
        // In the order of surrogates, which is none: the upstream's would tell what it goes by, and which of two patients'
        // surrogates stand for one practitioner.
        let mut entries: BTreeMap<(Mode, Option<Id>, usize), Vec<u8>> = BTreeMap::new();
        for (at, entry) in bundle.get("entry").iter().flat_map(Value::elements).enumerate() {
            let (mode, surrogate, bytes) = self.entry(entry, table, &mut counts)?;
            entries.insert((mode, surrogate, at), bytes);
        }
        let mut separator: &[u8] = br#","entry":["#;
        for entry in entries.values() {
            out.extend_from_slice(std::mem::replace(&mut separator, b","));
            out.extend_from_slice(entry);
        }
        out.extend_from_slice(if separator == b"," { b"]}" } else { b"}" });
        Ok((out, counts))
    }

    fn entry(
        &self,
        entry: Value<'_>,
        table: &mut Table<'_>,
        counts: &mut Counts,
    ) -> Result<(Mode, Option<Id>, Vec<u8>), Refusal> {
        let resource = entry.get("resource").ok_or_else(not_safe)?;
        let name = resource.get_str("resourceType").ok_or_else(not_safe)?;
        let kind: ResourceType = name.parse().map_err(|_| not_safe())?;
        let mode = entry.get("search").and_then(|search| search.get_str("mode")).ok_or_else(not_safe)?;
        let mode = Mode::ALL.into_iter().find(|known| known.as_str() == mode).ok_or_else(not_safe)?;
        let (mut out, mut called) = (b"{".to_vec(), None);
        if mode != Mode::Outcome {
            let id = resource.get_str("id").ok_or_else(not_safe)?;
            let surrogate = table.of(Stood::instance(kind, &id)).map_err(|_| not_safe())?;
            out.extend_from_slice(br#""fullUrl":"#);
            quote_into(&mut out, &format!("{}/{kind}/{surrogate}", self.home[0]));
            out.push(b',');
            called = Some(surrogate);
        }
        out.extend_from_slice(br#""resource":"#);
        out.extend(self.resource(kind, resource, table, counts)?);
        out.extend_from_slice(br#","search":{"mode":""#);
        out.extend_from_slice(mode.as_str().as_bytes());
        out.extend_from_slice(br#""}}"#);
        Ok((mode, called, out))
    }

    /// The link to the next page, its token exchanged. One of another form is no link of ours, and leaving it out would look
    /// like the end.
    fn next(&self, bundle: Value<'_>, table: &mut Table<'_>) -> Result<Option<String>, Refusal> {
        let links = bundle.get("link");
        let mut links = links.iter().flat_map(Value::elements);
        let next = links.find(|link| link.get("relation").is_some_and(|relation| relation.is_str("next")));
        let Some(next) = next else { return Ok(None) };
        let url = next.get_str("url").ok_or_else(not_safe)?;
        let address = format!("{}/{}{TOKEN}", self.home[0], self.kind);
        let token = url.strip_prefix(address.as_str()).ok_or_else(not_safe)?;
        let handle = table.of(Stood::Page(token.to_owned())).map_err(|_| not_safe())?;
        Ok(Some(format!("{address}{handle}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://gate/mercy/fhir";

    fn write(body: &str, told: &Told, is_list: bool) -> (Option<String>, BTreeSet<Stood>) {
        let profile = SAFE_HARBOR.as_ref().unwrap();
        let home = [BASE, "https://ehr.example/fhir"];
        let writing = Writing { profile, year: 2026, home, kind: ResourceType::OBSERVATION, is_list };
        let mut table = Table { told, missing: BTreeSet::new(), home };
        let done = writing.write(body.as_bytes(), &mut table).ok().map(|(body, _)| String::from_utf8(body).unwrap());
        (done, table.missing)
    }

    const PAGE: &str = r#"{"resourceType":"Bundle","type":"searchset","link":[
        {"relation":"self","url":"https://gate/mercy/fhir/Observation?patient=Patient/CANARY-P"},
        {"relation":"next","url":"https://gate/mercy/fhir/Observation?_hilum=CANARY-T"}],
        "entry":[
        {"fullUrl":"https://gate/mercy/fhir/Observation/CANARY-O","search":{"mode":"match"},"resource":{"resourceType":"Observation",
            "id":"CANARY-O","status":"final","effectiveDateTime":"2024-03-05","subject":{"reference":"Patient/CANARY-P","display":"CANARY"},
            "code":{"coding":[{"system":"http://loinc.org","code":"8302-2","display":"CANARY"}],"text":"CANARY"},
            "note":[{"text":"CANARY"}],"contained":[{"resourceType":"Patient","id":"CANARY-C"}]}},
        {"search":{"mode":"outcome"},"resource":{"resourceType":"OperationOutcome","issue":[
            {"severity":"information","code":"suppressed","diagnostics":"CANARY"}]}}]}"#;

    #[test]
    fn s4_06_nothing_of_a_page_tells_who_it_is_about() {
        let (first, missing) = write(PAGE, &Told::new(), true);
        let expected = [
            Stood::instance(ResourceType::OBSERVATION, "CANARY-O"),
            Stood::instance(ResourceType::PATIENT, "CANARY-P"),
            Stood::Page("CANARY-T".into()),
        ];
        assert_eq!(missing, BTreeSet::from(expected.clone()));
        assert!(first.is_some_and(|first| !first.contains("CANARY")));

        let surrogate = |at: usize| -> Id { format!("{at:08}-0000-4000-8000-000000000000").parse().unwrap() };
        let told: Told = expected.into_iter().zip(1..).map(|(stood, at)| (stood, surrogate(at))).collect();
        let (second, missing) = write(PAGE, &told, true);
        assert!(missing.is_empty());
        let text = second.unwrap();
        assert!(!text.contains("CANARY") && !text.contains("2024-03") && !text.contains(PLACEHOLDER), "{text}");
        let page: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(page["link"].as_array().unwrap().len(), 1, "no self link");
        assert_eq!(page["link"][0]["url"], format!("{BASE}/Observation?_hilum={}", surrogate(3)));
        let entry = &page["entry"][0];
        assert_eq!(entry["fullUrl"], format!("{BASE}/Observation/{}", surrogate(1)));
        assert_eq!(entry["resource"]["id"], surrogate(1).as_str());
        assert_eq!(entry["resource"]["subject"]["reference"], format!("Patient/{}", surrogate(2)));
        assert_eq!(entry["resource"]["effectiveDateTime"], "2024");
        assert_eq!(entry["resource"]["code"]["coding"][0]["code"], "8302-2");
        assert_eq!(page["entry"][1]["resource"]["issue"][0]["code"], "suppressed");
    }

    #[test]
    fn one_thing_has_one_surrogate_however_a_reference_spells_where_it_is() {
        for (reference, expected) in [
            ("Patient/CANARY-P", Stood::instance(ResourceType::PATIENT, "CANARY-P")),
            ("https://gate/mercy/fhir/Patient/CANARY-P", Stood::instance(ResourceType::PATIENT, "CANARY-P")),
            ("https://ehr.example/fhir/Patient/CANARY-P", Stood::instance(ResourceType::PATIENT, "CANARY-P")),
            (
                "https://elsewhere/fhir/Patient/CANARY-P",
                Stood::Instance {
                    base: Some("https://elsewhere/fhir".into()),
                    kind: ResourceType::PATIENT,
                    id: "CANARY-P".into(),
                },
            ),
        ] {
            let page = PAGE.replace(r#"{"reference":"Patient/CANARY-P""#, &format!(r#"{{"reference":"{reference}""#));
            let (_, missing) = write(&page, &Told::new(), true);
            assert!(missing.contains(&expected), "{reference}: {}", missing.len());
        }
    }

    #[test]
    fn entries_come_in_the_order_of_their_surrogates_matches_first() {
        let entry = |kind: &str, id: &str, mode: &str| {
            format!(r#"{{"search":{{"mode":"{mode}"}},"resource":{{"resourceType":"{kind}","id":"{id}"}}}}"#)
        };
        let surrogate = |at: usize| -> Id { format!("{at:08}-0000-4000-8000-000000000000").parse().unwrap() };
        let told = Told::from([
            (Stood::instance(ResourceType::OBSERVATION, "a"), surrogate(9)),
            (Stood::instance(ResourceType::OBSERVATION, "b"), surrogate(8)),
            (Stood::instance(ResourceType::PRACTITIONER, "a"), surrogate(2)),
            (Stood::instance(ResourceType::PRACTITIONER, "b"), surrogate(1)),
        ]);
        let entries = [
            entry("Observation", "a", "match"),
            entry("Practitioner", "a", "include"),
            entry("Observation", "b", "match"),
            entry("Practitioner", "b", "include"),
        ];
        let page = format!(r#"{{"resourceType":"Bundle","type":"searchset","entry":[{}]}}"#, entries.join(","));
        let (text, missing) = write(&page, &told, true);
        assert!(missing.is_empty());
        let page: serde_json::Value = serde_json::from_str(&text.unwrap()).unwrap();
        let ids: Vec<&str> =
            page["entry"].as_array().unwrap().iter().map(|entry| entry["resource"]["id"].as_str().unwrap()).collect();
        assert_eq!(ids, [8, 9, 1, 2].map(surrogate).iter().map(Id::as_str).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_not_understood_refuses_the_whole_answer() {
        for (from, to) in [
            ("\"status\":\"final\"", "\"modifierExtension\":[{\"url\":\"x\"}]"),
            ("\"status\":\"final\"", "\"implicitRules\":\"http://x\""),
            ("\"searchset\"", "\"document\""),
            ("\"mode\":\"match\"", "\"mode\":\"other\""),
            ("?_hilum=CANARY-T", "?_getpages=CANARY-T"),
            ("https://gate/mercy/fhir/Observation?_hilum", "https://elsewhere/Observation?_hilum"),
            ("\"resourceType\":\"Observation\"", "\"resourceType\":\"Nothing\""),
            ("\"id\":\"CANARY-O\",", ""),
        ] {
            let page = PAGE.replace(from, to);
            assert_ne!(page, PAGE, "{from}");
            assert_eq!(write(&page, &Told::new(), true).0, None, "{to}");
        }
        assert_eq!(write(PAGE, &Told::new(), false).0, None, "another type than was asked for");
        assert_eq!(write("{", &Told::new(), true).0, None);
    }
}
