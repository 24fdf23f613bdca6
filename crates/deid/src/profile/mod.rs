//! Profiles: what is kept of which element. The shape of the file is that of Microsoft's Tools for Health Data Anonymization,
//! read strictly, and under one rule that tool does not have: what no rule keeps does not leave.

pub(crate) mod narrow;
pub(crate) mod path;
pub(crate) mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use fhir::json::{Document, InvalidJson, Value};

use self::rules::{Method, Rule, RuleSet};
use crate::leaf;

/// SHA-256, of the caller's choosing: this crate has none.
pub type Sha256 = fn(&[u8]) -> [u8; 32];

/// Most rules in a file: the longest known samples have about 200.
pub const RULES_MAX: usize = 500;
/// Longest file read: some ten thousand codes with their displays.
pub const FILE_BYTES_MAX: usize = 2 * 1024 * 1024;

const SAFE_HARBOR: &str = include_str!("../../profiles/safe-harbor.json");
const LIMITED: &str = include_str!("../../profiles/limited-data-set.json");

/// Under which clause of 45 CFR 164.514 the output is made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Standing {
    /// (b)(2): nothing beyond what the built-in profile lets through.
    SafeHarbor,
    /// (e): no direct identifiers, but dates, cities and ZIP codes; needs a data use agreement.
    LimitedDataSet {
        /// Where the agreement is kept.
        agreement: String,
    },
    /// (b)(1): whatever an expert has attested to.
    ExpertDetermination {
        /// Who determined it.
        expert: String,
        /// The day of it.
        date: String,
        /// Where the record of methods and results is kept.
        record: String,
    },
}

/// A checked profile.
pub struct Profile {
    /// Under which clause it stands.
    pub standing: Standing,
    /// SHA-256 of the file; of a file that stays within a built-in one, of both digests, its own first.
    pub digest: [u8; 32],
    pub(crate) rules: RuleSet,
    /// The built-in rules it stays within.
    pub(crate) ceiling: Option<RuleSet>,
    /// Whether what is not understood refuses the resource; otherwise that element alone is dropped.
    pub(crate) raises: bool,
    /// Code systems, beyond the public ones, whose codes identify nobody.
    systems: BTreeSet<String>,
    /// ZIP areas of few people, beyond those of the 2000 census.
    small_areas: BTreeSet<String>,
    /// What codes are shown as, by system and code.
    displays: Displays,
}

type Displays = BTreeMap<(String, String), String>;

/// Why a file is no profile.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum InvalidProfile {
    /// Not strict JSON, or not an object.
    Json(Option<InvalidJson>),
    /// A member of the file.
    Member(String),
    /// A rule, counted from one.
    Rule {
        /// Its number.
        number: usize,
        /// Its path, as far as it has one.
        path: String,
        /// What is wrong with it.
        says: String,
    },
}

impl fmt::Display for InvalidProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(None) => f.write_str("a profile is one JSON object of at most 2 MiB"),
            Self::Json(Some(why)) => write!(f, "not strict JSON: {why}"),
            Self::Member(says) => f.write_str(says),
            Self::Rule { number, path, says } => write!(f, "rule {number}, `{path}`: {says}"),
        }
    }
}

impl std::error::Error for InvalidProfile {}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile").field("standing", &self.standing).finish_non_exhaustive()
    }
}

impl Profile {
    /// The built-in profile `safe-harbor`.
    ///
    /// # Errors
    /// None: a test loads it.
    pub fn safe_harbor(sha256: Sha256) -> Result<Self, InvalidProfile> {
        Self::read(SAFE_HARBOR.as_bytes(), sha256, true)
    }

    /// Reads a file. Everything in it is understood, or it is an error that names the rule.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(file: &[u8], sha256: Sha256) -> Result<Self, InvalidProfile> {
        Self::read(file, sha256, false)
    }

    fn read(file: &[u8], sha256: Sha256, built_in: bool) -> Result<Self, InvalidProfile> {
        if file.len() > FILE_BYTES_MAX {
            return Err(InvalidProfile::Json(None));
        }
        let document = Document::parse(file).map_err(|why| InvalidProfile::Json(Some(why)))?;
        let root = document.root();
        if !root.is_object() {
            return Err(InvalidProfile::Json(None));
        }
        only(
            root,
            "profile",
            &[
                "description",
                "profile",
                "base",
                "agreement",
                "attestation",
                "fhirVersion",
                "processingErrors",
                "fhirPathRules",
                "parameters",
            ],
        )?;
        let standing = standing(root, built_in)?;
        if !root.get("fhirVersion").is_none_or(|version| version.is_str("R4")) {
            return Err(member("`fhirVersion` must be `R4`"));
        }
        let raises = match root.get_str("processingErrors").as_deref() {
            Some("raise") => true,
            Some("skip") => false,
            None if root.get("processingErrors").is_none() => true,
            _ => {
                return Err(member("`processingErrors` is `raise` (refuse the resource) or `skip` (drop the element)"));
            }
        };
        let parameters = Parameters::read(root.get("parameters"))?;
        let ceiling = match standing {
            _ if built_in => None,
            Standing::SafeHarbor => Some(Self::read(SAFE_HARBOR.as_bytes(), sha256, true)?),
            Standing::LimitedDataSet { .. } => Some(Self::read(LIMITED.as_bytes(), sha256, true)?),
            Standing::ExpertDetermination { .. } => None,
        };
        let digest = match &ceiling {
            Some(ceiling) => sha256(&[sha256(file), ceiling.digest].concat()),
            None => sha256(file),
        };
        let ceiling = ceiling.map(|ceiling| ceiling.rules);
        let rules = rules(root, &standing, &parameters, ceiling.as_ref())?;
        let Parameters { systems, small_areas, displays, .. } = parameters;
        Ok(Self { standing, digest, rules, ceiling, raises, systems, small_areas, displays })
    }

    /// Whether the profile lists this code system.
    pub(crate) fn lists(&self, system: &str) -> bool {
        self.systems.contains(system)
    }

    /// What the profile shows a code as.
    pub(crate) fn display(&self, system: &str, code: &str) -> Option<&str> {
        if self.displays.is_empty() {
            return None;
        }
        self.displays.get(&(system.to_owned(), code.to_owned())).map(String::as_str)
    }

    /// Whether few people live in this ZIP area.
    pub(crate) fn is_small_area(&self, zip3: &str) -> bool {
        crate::known::is_small_area(zip3) || self.small_areas.contains(zip3)
    }
}

fn member(says: impl Into<String>) -> InvalidProfile {
    InvalidProfile::Member(says.into())
}

/// Refuses members that are not `known`.
fn only(object: Value<'_>, what: &str, known: &[&str]) -> Result<(), InvalidProfile> {
    match object.members().find(|(key, _)| !known.iter().any(|name| key.is(name))) {
        Some((key, _)) => Err(member(format!("`{}` is no member of a {what}", key.text()))),
        None => Ok(()),
    }
}

fn standing(root: Value<'_>, built_in: bool) -> Result<Standing, InvalidProfile> {
    let text = |object: Value<'_>, name: &str| {
        object.get_str(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let named = match (text(root, "profile"), text(root, "base")) {
        (Some(named), None) | (None, Some(named)) => named,
        _ => {
            return Err(member(
                "say which: `\"base\": \"safe-harbor\"` to keep less than the built-in profile, or `\"profile\": \"limited-data-set\"` or \
                 `\"profile\": \"expert-determination\"` to keep more",
            ));
        }
    };
    match named.as_str() {
        "safe-harbor" => Ok(Standing::SafeHarbor),
        "limited-data-set" if built_in => Ok(Standing::LimitedDataSet { agreement: String::new() }),
        "limited-data-set" => text(root, "agreement").map(|agreement| Standing::LimitedDataSet { agreement }).ok_or(
            member("a limited data set needs `agreement`: where its data use agreement is kept (45 CFR 164.514(e)(4))"),
        ),
        "expert-determination" => {
            let needs = || {
                member("an expert determination needs `attestation` with `expert`, `date` (YYYY-MM-DD) and `record`")
            };
            let attestation = root.get("attestation").filter(Value::is_object).ok_or_else(needs)?;
            only(attestation, "attestation", &["expert", "date", "record"])?;
            let date = text(attestation, "date").filter(|date| date.len() == 10 && leaf::year(date).is_some());
            match (text(attestation, "expert"), date, text(attestation, "record")) {
                (Some(expert), Some(date), Some(record)) => Ok(Standing::ExpertDetermination { expert, date, record }),
                _ => Err(needs()),
            }
        }
        other => Err(member(format!("`{other}` is none of `safe-harbor`, `limited-data-set`, `expert-determination`"))),
    }
}

/// What `parameters` says. Keys are refused: no code is derived from the person here, so nothing needs one.
#[derive(Default)]
struct Parameters {
    partial_ages: bool,
    partial_dates: bool,
    partial_zips: bool,
    systems: BTreeSet<String>,
    small_areas: BTreeSet<String>,
    displays: Displays,
}

impl Parameters {
    fn read(given: Option<Value<'_>>) -> Result<Self, InvalidProfile> {
        let mut found = Self::default();
        let Some(given) = given else { return Ok(found) };
        if !given.is_object() {
            return Err(member("`parameters` is an object"));
        }
        for (key, value) in given.members() {
            let name = key.text();
            let truth = || value.as_bool().ok_or(member(format!("`{name}` is true or false")));
            match &*name {
                "enablePartialAgesForRedact" => found.partial_ages = truth()?,
                "enablePartialDatesForRedact" => found.partial_dates = truth()?,
                "enablePartialZipCodesForRedact" => found.partial_zips = truth()?,
                "restrictedZipCodeTabulationAreas" => {
                    let is_area = |text: &str| text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
                    found.small_areas =
                        texts(value, &is_area).ok_or(member(format!("`{name}` is a list of three digits each")))?;
                }
                "codeSystems" => {
                    let is_system =
                        |text: &str| ["http://", "https://", "urn:oid:"].iter().any(|scheme| text.starts_with(scheme));
                    found.systems =
                        texts(value, &is_system).ok_or(member(format!("`{name}` is a list of code system URLs")))?;
                }
                "displays" => {
                    let says = format!("`{name}` is a list of objects with `system`, `code` and `display`");
                    found.displays = displays(value)?.ok_or(member(says))?;
                }
                "dateShiftKey" | "cryptoHashKey" | "encryptKey" | "dateShiftScope" | "dateShiftFixedOffsetInDays" => {
                    if !value.is_str("") {
                        return Err(member(format!(
                            "`{name}` has no use here: nothing is shifted, hashed or encrypted"
                        )));
                    }
                }
                other => return Err(member(format!("`{other}` is no parameter"))),
            }
        }
        Ok(found)
    }

    /// What redacting an element of these becomes with the partial flags: the year, the bucket or the three digits.
    fn softened(&self, rule: &Rule) -> Method {
        let leads = |wanted: &dyn Fn(&str, &str, &str) -> bool| {
            rule.patterns.iter().all(|pattern| {
                !narrow::leads_to(pattern, None, &|holder, element, _| {
                    let fhir::elements::Datatype::Primitive(primitive) = element.datatype else { return true };
                    !wanted(holder.name(), element.name, primitive.name())
                })
            })
        };
        let is_date = |_: &str, _: &str, primitive: &str| matches!(primitive, "date" | "dateTime");
        let is_age = |holder: &str, name: &str, _: &str| holder == "Age" && name == "value";
        let is_zip = |holder: &str, name: &str, _: &str| holder == "Address" && name == "postalCode";
        if self.partial_dates && leads(&is_date)
            || self.partial_ages && leads(&is_age)
            || self.partial_zips && leads(&is_zip)
        {
            Method::Generalize
        } else {
            Method::Redact
        }
    }
}

fn displays(list: Value<'_>) -> Result<Option<Displays>, InvalidProfile> {
    let mut found = Displays::new();
    for item in list.elements() {
        only(item, "display", &["system", "code", "display"])?;
        let text = |name| item.get_str(name).map(|text| text.into_owned());
        let (Some(system), Some(code), Some(display)) = (text("system"), text("code"), text("display")) else {
            return Ok(None);
        };
        found.insert((system, code), display);
    }
    Ok(list.is_array().then_some(found))
}

fn texts(list: Value<'_>, fits: &dyn Fn(&str) -> bool) -> Option<BTreeSet<String>> {
    let text = |value: Value<'_>| value.as_str().map(|text| text.into_owned()).filter(|text| fits(text));
    if list.is_array() { list.elements().map(text).collect() } else { None }
}

fn rules(
    root: Value<'_>,
    standing: &Standing,
    parameters: &Parameters,
    ceiling: Option<&RuleSet>,
) -> Result<RuleSet, InvalidProfile> {
    let list = root.get("fhirPathRules").filter(Value::is_array).ok_or(member("`fhirPathRules` is a list of rules"))?;
    let mut rules = Vec::new();
    for (index, given) in list.elements().enumerate() {
        let path = given.get_str("path").unwrap_or_default();
        let fails = |says: String| InvalidProfile::Rule { number: index + 1, path: path.clone().into_owned(), says };
        if index >= RULES_MAX {
            return Err(fails(format!("at most {RULES_MAX} rules are read")));
        }
        only(given, "rule", &["path", "method", "replaceWith"]).map_err(|why| fails(why.to_string()))?;
        let mut rule = rule(given, &path, standing).map_err(fails)?;
        if rule.method == Method::Redact {
            rule.method = parameters.softened(&rule);
        }
        check(&rule, ceiling).map_err(fails)?;
        rules.push(rule);
    }
    Ok(RuleSet::new(rules))
}

fn rule(given: Value<'_>, path: &str, standing: &Standing) -> Result<Rule, String> {
    let patterns = path::parse(path)?;
    let name = given.get_str("method").ok_or("it has no `method`")?;
    let method = match &*name {
        "keep" => Method::Keep,
        "keepKnown" => Method::KeepKnown,
        "generalize" => Method::Generalize,
        "surrogate" => Method::Surrogate,
        "substitute" => Method::Substitute,
        "redact" => Method::Redact,
        "dateShift" if *standing == Standing::SafeHarbor => {
            return Err(
                "Safe Harbor lets no date through but its year, shifted or not (164.514(b)(2)(i)(C)): use `generalize`"
                    .to_owned(),
            );
        }
        "cryptoHash" | "encrypt" => {
            return Err(format!(
                "`{name}` makes a code that is derived from what the person is known by (164.514(c)): use `surrogate`"
            ));
        }
        other => {
            return Err(format!(
                "method `{other}` is not supported: keep, keepKnown, generalize, surrogate, substitute and redact are"
            ));
        }
    };
    let replacement = match (method, given.get("replaceWith")) {
        (Method::Substitute, Some(text)) => text.as_str().ok_or("`replaceWith` is a text")?.as_ref().into(),
        (Method::Substitute, None) => return Err("`substitute` needs `replaceWith`".to_owned()),
        (_, Some(_)) => return Err("`replaceWith` belongs to `substitute`".to_owned()),
        (_, None) => "".into(),
    };
    Ok(Rule { patterns, method, replacement })
}

/// A rule must be able to do what it says, within the profile it belongs to.
fn check(rule: &Rule, ceiling: Option<&RuleSet>) -> Result<(), String> {
    for pattern in &rule.patterns {
        if rule.method == Method::Redact {
            continue;
        }
        if !narrow::leads_to(pattern, None, &|holder, element, _| narrow::applies(rule.method, holder, element)) {
            return Err("the method does nothing there".to_owned());
        }
        let within = |_: fhir::elements::Complex, _: &fhir::elements::Element, there: Method| {
            narrow::is_within(rule.method, there)
        };
        if ceiling.is_some() && !narrow::leads_to(pattern, ceiling, &within) {
            return Err(
                "it keeps more than the profile allows: say `\"profile\": \"limited-data-set\"` or `\"expert-determination\"` with what that \
                 needs, or drop the rule"
                    .to_owned(),
            );
        }
    }
    Ok(())
}
