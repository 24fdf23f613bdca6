//! An independent scanner: what of an input identifies somebody, and whether any of it is in an output. It knows FHIR only by
//! the names of members, and shares no table and no code with what it checks.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What must not be in the output.
#[derive(Default)]
pub struct Secrets {
    /// Words of names, in lower case.
    words: BTreeSet<String>,
    /// Words by which references show people and places; a group practice may share one with a public code of the input.
    shown: BTreeSet<String>,
    /// Whole values, and what kind each is.
    values: BTreeMap<String, &'static str>,
    /// Ids of resources, which are short at times: looked for where ids stand.
    ids: BTreeSet<String>,
    /// Codes that the input gives to a public terminology: an identifier that is spelled like one is not told by it.
    public: BTreeSet<String>,
}

impl Secrets {
    pub fn len(&self) -> usize {
        self.words.len() + self.shown.len() + self.values.len() + self.ids.len()
    }

    /// Collects from a resource and everything in it.
    pub fn collect(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.collect(item)),
            Value::Object(members) => {
                let is_name = members.contains_key("family") || members.contains_key("given");
                let is_contact = members
                    .get("system")
                    .and_then(Value::as_str)
                    .is_some_and(|system| ["phone", "fax", "email", "pager", "url", "sms", "other"].contains(&system));
                if let (Some(system), Some(code)) = (members.get("system").and_then(Value::as_str), members.get("code"))
                    && PUBLIC.iter().any(|public| system.starts_with(public))
                {
                    strings(code, &mut |code| _ = self.public.insert(code.to_owned()));
                }
                // Whom a reference leads to, in words.
                let whom = members.get("reference").and_then(Value::as_str).unwrap_or("");
                let is_whom = ["Patient", "Practitioner", "RelatedPerson", "Person", "Organization", "Location"]
                    .iter()
                    .any(|kind| whom.contains(kind));
                if let Some(display) = members.get("display").filter(|_| is_whom) {
                    strings(display, &mut |text| self.add("whom", text));
                }
                let is_address =
                    ["line", "city", "postalCode", "district"].iter().any(|name| members.contains_key(*name));
                for (name, member) in members {
                    let kind = match name.as_str() {
                        "family" | "given" => "name",
                        "text" if is_name => "name",
                        "value" if is_contact => "contact point",
                        "line" | "city" | "district" | "postalCode" => "address",
                        "text" if is_address => "address",
                        "display" | "text" | "div" | "title" | "description" | "comment" | "valueString" | "name"
                        | "alias" | "patientInstruction" => "free text",
                        "versionId" | "serialNumber" | "lotNumber" | "subscriberId" | "distinctIdentifier"
                        | "deviceIdentifier" => "identifier",
                        "data" | "hash" => "data",
                        "id" => "id",
                        "reference" | "fullUrl" => "reference",
                        _ => "",
                    };
                    strings(member, &mut |text| self.add(kind, text));
                    if name == "identifier" || name == "masterIdentifier" {
                        self.identifiers(member);
                    }
                    if name != "system" {
                        strings(member, &mut |text| {
                            if text.contains("://") || text.starts_with("urn:") {
                                self.values.insert(text.to_owned(), "url");
                            }
                        });
                    }
                    self.collect(member);
                }
            }
            Value::String(text) if is_date(text) => {
                self.values.insert(text.clone(), "date");
            }
            _ => {}
        }
    }

    fn identifiers(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.identifiers(item)),
            Value::Object(members) => {
                for name in ["value", "system"] {
                    if let Some(text) = members.get(name).and_then(Value::as_str) {
                        self.values.insert(text.to_owned(), "identifier");
                    }
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, kind: &'static str, text: &str) {
        match kind {
            "" => {}
            "name" | "whom" => {
                let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() >= 3);
                let into = if kind == "name" { &mut self.words } else { &mut self.shown };
                into.extend(words.map(str::to_lowercase));
            }
            "id" => {
                self.ids.insert(text.to_owned());
            }
            "reference" => {
                let text = text.split("/_history/").next().unwrap_or(text);
                let last = text.rsplit(['/', ':', '#']).next().unwrap_or(text);
                self.ids.insert(last.to_owned());
            }
            // A state or country written as free text elsewhere would be found in its own element.
            _ if text.trim().chars().count() < 3 => {}
            kind => {
                self.values.insert(text.to_owned(), kind);
            }
        }
    }
}

/// Strings of a value, its arrays and no further.
fn strings(value: &Value, visit: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, visit)),
        _ => {}
    }
}

/// `YYYY-MM…`, in this and the last two centuries.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits =
        |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    bytes.len() >= 7
        && ["18", "19", "20", "21"].iter().any(|century| text.starts_with(century))
        && digits(0..4)
        && bytes[4] == b'-'
        && digits(5..7)
        && matches!(bytes.get(7), None | Some(b'-' | b'T'))
        && (1..=12).contains(&(10 * (bytes[5] - b'0') + (bytes[6] - b'0')))
}

/// What was found, and what remained.
#[derive(Default)]
pub struct Findings {
    pub found: Vec<String>,
    pub codings: usize,
    pub quantities: usize,
    pub codes: usize,
    pub years: usize,
    pub strings: usize,
}

/// Members that may hold a text with blanks.
const SPACED: [&str; 3] = ["state", "country", "unit"];
const PUBLIC: [&str; 14] = [
    "http://nucc.org/provider-taxonomy",
    "http://www.nubc.org/patient-discharge",
    "http://terminology.hl7.org/CodeSystem/",
    "http://hl7.org/fhir/",
    "http://snomed.info/sct",
    "http://loinc.org",
    "http://unitsofmeasure.org",
    "http://www.nlm.nih.gov/research/umls/rxnorm",
    "http://dicom.nema.org/resources/ontology/DCM",
    "http://www.ama-assn.org/go/cpt",
    "http://www.whocc.no/atc",
    "urn:ietf:bcp:47",
    "urn:iso:std:iso:3166",
    "urn:iso:std:iso:4217",
];

impl Findings {
    /// Looks through an output for secrets, and for whatever looks like one.
    pub fn look(&mut self, secrets: &Secrets, of: &str, name: &str, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.look(secrets, of, name, item)),
            Value::Object(members) => {
                self.codings += usize::from(
                    members.contains_key("system") && members.contains_key("code") && !members.contains_key("value"),
                );
                self.quantities += usize::from(members.get("value").is_some_and(Value::is_number));
                members.iter().for_each(|(name, member)| self.look(secrets, of, name, member));
            }
            Value::String(text) => self.string(secrets, of, name, text),
            // Longer than anything measured.
            Value::Number(number) if number.to_string().chars().filter(char::is_ascii_digit).count() > 17 => {
                self.found.push(format!("{of} {name}: a long number {number}"));
            }
            _ => {}
        }
    }

    fn string(&mut self, secrets: &Secrets, of: &str, name: &str, text: &str) {
        self.strings += 1;
        let mut found = |what: &str| self.found.push(format!("{of} {name}: {what}: `{text}`"));
        if name == "system" {
            if !PUBLIC.iter().any(|public| text.starts_with(public)) {
                found("a system that is not public");
            }
            return;
        }
        // The fixtures have patients whose name is Patient.
        if name == "resourceType" && text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return;
        }
        let surrogate =
            text.strip_prefix("urn:uuid:").or_else(|| text.split_once('/').map(|(_, id)| id)).unwrap_or(text);
        if matches!(name, "id" | "reference" | "fullUrl") {
            if !is_uuid(surrogate) {
                found("no surrogate");
            }
            if secrets.ids.contains(surrogate) {
                found("an id");
            }
            return;
        }
        if let Some(kind) = secrets.values.get(text).filter(|kind| !SPACED.contains(&name) || **kind != "free text") {
            // A code may be spelled as some free text of the input is, or a ZIP area as a whole code is not.
            let is_code = name == "code" && *kind == "identifier" && secrets.public.contains(text);
            if !is_code && (*kind != "free text" || text.contains(' ')) {
                found(kind);
            }
        }
        let is_public = name == "code" && secrets.public.contains(text);
        let word = |word: &str| {
            let word = word.to_lowercase();
            secrets.words.contains(&word) || (!is_public && secrets.shown.contains(&word))
        };
        if !SPACED.contains(&name) && text.split(|c: char| !c.is_alphanumeric()).any(word) {
            found("a name");
        }
        if secrets.ids.contains(text) && text.len() > 6 && text.bytes().any(|byte| byte.is_ascii_digit()) {
            found("an id outside its place");
        }
        for (what, is) in [
            ("a date", is_date(text)),
            ("an e-mail address", text.contains('@')),
            ("a url", text.contains("://") || text.starts_with("www.") || text.starts_with("urn:")),
            ("a telephone number", has_form(text, "ddd-dddd") || text.contains('(') && has_form(text, "ddd")),
            ("a social security number", has_form(text, "ddd-dd-dddd")),
            ("a text", text.contains(' ') && !SPACED.contains(&name)),
            ("a long text", text.len() > 60),
        ] {
            if is {
                found(what);
            }
        }
        self.codes += 1;
        self.years += usize::from(text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit()));
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if [8, 13, 18, 23].contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() })
}

/// Whether a run of digits and dashes in `text` is of `form`, with no digit on either side.
fn has_form(text: &str, form: &str) -> bool {
    let (text, form) = (text.as_bytes(), form.as_bytes());
    (0..text.len()).any(|at| {
        let fits = |(index, wanted): (usize, &u8)| match (text.get(at + index), wanted) {
            (Some(byte), b'd') => byte.is_ascii_digit(),
            (Some(byte), wanted) => byte == wanted,
            (None, _) => false,
        };
        let alone = |byte: Option<&u8>| !byte.is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-');
        form.iter().enumerate().all(fits)
            && alone(at.checked_sub(1).and_then(|at| text.get(at)))
            && alone(text.get(at + form.len()))
    })
}

/// The scanner must find what it is there for.
#[test]
fn the_scanner_finds_what_is_left() {
    let input: Value = serde_json::json!({"resourceType": "Patient", "id": "p-17", "birthDate": "1974-12-25",
        "name": [{"family": "Windsor"}], "telecom": [{"system": "phone", "value": "(03) 5555 6473"}], "address": [{"city": "Pleasantville"}],
        "identifier": [{"value": "12345"}], "photo": [{"url": "http://x.example/1"}], "managingOrganization": {"display": "ACME Healthcare"}});
    let mut secrets = Secrets::default();
    secrets.collect(&input);
    for (output, expected) in [
        (serde_json::json!({"id": "p-17"}), 2),
        (serde_json::json!({"reference": "Patient/p-17"}), 2),
        (serde_json::json!({"code": "WINDSOR"}), 1),
        (serde_json::json!({"code": "1974-12-25"}), 2),
        (serde_json::json!({"code": "2001-02"}), 1),
        (serde_json::json!({"code": "12345"}), 1),
        (serde_json::json!({"code": "Pleasantville"}), 1),
        (serde_json::json!({"code": "555-1234"}), 1),
        (serde_json::json!({"code": "123-45-6789"}), 1),
        (serde_json::json!({"code": "a@b"}), 1),
        (serde_json::json!({"unit": "ACME Healthcare"}), 0),
        (serde_json::json!({"code": "ACME Healthcare"}), 2),
        (serde_json::json!({"system": "http://x.example/1"}), 1),
        (serde_json::json!({"profile": ["http://x.example/1"]}), 2),
        (serde_json::json!({"code": "male", "birthDate": "1974", "postalCode": "021"}), 0),
    ] {
        let mut findings = Findings::default();
        findings.look(&secrets, "test", "", &output);
        assert_eq!(findings.found.len(), expected, "{output}: {:?}", findings.found);
    }
}
