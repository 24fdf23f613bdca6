//! What a de-identified session may ask, and what it means by it: an allow-list, since a question can tell as much as an answer.
//! Ids are surrogates; one that stands for nothing in the session's table, a real id above all, becomes one that nobody has, and
//! is answered as absent in the usual way.

use std::collections::{BTreeMap, BTreeSet};

use domain::Reason;
use fhir::elements::{Complex, Datatype, Primitive};
use fhir::params::{self, ParamKind, SearchParam};
use fhir::references::{self, Reference};
use fhir::request::{Asked, Interaction, Modifier, Param, Search};
use fhir::{Id, ResourceType};
use http::StatusCode;
use policy::TenantRules;

use super::{Veil, no_surrogates, year};
use crate::error::Refusal;
use crate::gate::Gate;
use crate::surrogates::Stood;

/// An id that no server gives out. Of letters: servers that count their instances refuse a number of that length as malformed,
/// where they would not find this.
const NOBODY: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// Most surrogates in one request; each is looked up.
const NAMES_MAX: usize = 100;

/// By what a request is judged.
struct Bounds<'a> {
    /// Our own FHIR base.
    base: &'a str,
    /// The oldest year that is told.
    oldest: i32,
    /// Types that are nobody's, whose resources the sessions of many patients come across.
    shared: &'a BTreeSet<ResourceType>,
}

/// What the surrogates of a request stand for.
type Meant = BTreeMap<String, Stood>;

impl Gate {
    /// The interaction that is meant, if a de-identified session may ask for it.
    pub(in crate::gate) async fn meant(
        &self,
        veil: &Veil,
        rules: &TenantRules,
        asked: Interaction,
    ) -> Result<Interaction, Refusal> {
        let bounds = Bounds {
            base: &rules.public_base,
            oldest: deid::oldest_year(year(self.clock.now())?),
            shared: &rules.shared,
        };
        check(&asked, &bounds)?;
        let names = named(&asked, bounds.base);
        if names.len() > NAMES_MAX {
            return Err(Refusal::new(Reason::TooCostly, "this names too many resources; ask for fewer at once"));
        }
        let meant = self.surrogates.originals(&veil.owner, &names).await.map_err(no_surrogates)?;
        rewritten(asked, bounds.base, &meant)
    }
}

fn refused(says: impl Into<String>) -> Refusal {
    Refusal::new(Reason::DeIdentified, says)
}

fn not_offered(param: &str) -> Refusal {
    refused(format!("`{param}` is not offered like this in a de-identified session; see docs/roles.md for what is"))
}

/// Not forbidden to this session, but offered to none of its kind.
fn unordered() -> Refusal {
    let says = "nothing is asked in an order in a de-identified session: leave out `_sort`, and of $lastn ask the last one only";
    Refusal { status: StatusCode::BAD_REQUEST, issue: "not-supported", ..refused(says) }
}

/// Whether it may be asked at all.
fn check(asked: &Interaction, bounds: &Bounds<'_>) -> Result<(), Refusal> {
    match asked {
        // Answered by the gate itself, or refused by `policy` where it is an entry of a batch.
        Interaction::Capabilities => Ok(()),
        Interaction::Read { .. } | Interaction::Page { .. } => Ok(()),
        Interaction::Search(search) => check_search(search, bounds),
        Interaction::Vread { .. }
        | Interaction::History(_)
        | Interaction::Everything(_)
        | Interaction::Binary { .. }
        | Interaction::Write(_)
        | Interaction::Bundle(_)
        | Interaction::Bulk(_) => {
            Err(refused("a de-identified session reads and searches, one by one or in a batch, and nothing else"))
        }
    }
}

fn check_search(search: &Search, bounds: &Bounds<'_>) -> Result<(), Refusal> {
    if let Some(inference) = search.inference.first() {
        return Err(not_offered(&inference.param));
    }
    for param in &search.params {
        let known = params::find(search.kind, param.name).ok_or_else(|| not_offered(param.name))?;
        if !fits(search.kind, known, param, bounds) {
            return Err(not_offered(param.name));
        }
    }
    // An order tells what it goes by: of dates more than their year, of names something of them. So does what is among the last two
    // and not among the last three.
    if !search.sort.is_empty() || matches!(search.asked, Asked::LastN(max) if max > 1) {
        return Err(unordered());
    }
    // All of them, in an order that is the same for every patient, would lead from the surrogates of one to those of another.
    if bounds.shared.contains(&search.kind) && !search.params.iter().any(|param| param.name == "_id") {
        return Err(refused(format!("a de-identified session searches {} by `_id` only", search.kind)));
    }
    Ok(())
}

/// Whether the parameter is one by which nobody can be told from others but by what they have, and its values are such too.
fn fits(kind: ResourceType, known: &SearchParam, param: &Param, bounds: &Bounds<'_>) -> bool {
    let &Bounds { base, oldest, .. } = bounds;
    let each = |fits: &dyn Fn(&str) -> bool| param.values.iter().all(|value| fits(value));
    let is_truth = |value: &str| matches!(value, "true" | "false");
    match (param.kind, param.modifier) {
        (ParamKind::Token, None) if param.name == "_id" => true,
        (ParamKind::Token, modifier) if tells_nobody(kind, known) => match modifier {
            Some(Modifier::Missing) => each(&is_truth),
            None | Some(Modifier::Not) => each(&|value| is_truth(value) || is_public(value)),
            Some(_) => false,
        },
        (ParamKind::Date, None) if param.name != "_lastUpdated" => each(&|value| is_year(value, oldest)),
        (ParamKind::Reference, None | Some(Modifier::Type(_))) => each(&|value| name_in(value, base).is_some()),
        (ParamKind::Date, Some(Modifier::Missing)) if param.name != "_lastUpdated" => each(&is_truth),
        (ParamKind::Reference, Some(Modifier::Missing)) => each(&is_truth),
        _ => false,
    }
}

/// Whether a de-identified session may search by a parameter, for its capability statement.
pub(in crate::gate) fn is_offered(kind: ResourceType, known: &SearchParam) -> bool {
    match known.kind {
        ParamKind::Token => known.name == "_id" || tells_nobody(kind, known),
        ParamKind::Date => known.name != "_lastUpdated",
        ParamKind::Reference => true,
        _ => false,
    }
}

/// Whether a token is looked for in codes and booleans alone: never in an Identifier, a ContactPoint or an id.
fn tells_nobody(kind: ResourceType, param: &SearchParam) -> bool {
    !param.paths.is_empty() && param.paths.iter().all(|path| ends_in_code(kind, path.elements))
}

fn ends_in_code(kind: ResourceType, names: &[&str]) -> bool {
    let (mut place, mut ends) = (Complex::resource(kind), false);
    for name in names {
        let Some(element) = place.and_then(|place| place.element(name)) else { return false };
        (place, ends) = match element.datatype {
            Datatype::Complex(inner) => (Some(inner), matches!(inner.name(), "CodeableConcept" | "Coding")),
            Datatype::Primitive(primitive) => (None, matches!(primitive, Primitive::Code | Primitive::Boolean)),
            Datatype::Resource => return false,
        };
    }
    ends
}

/// `system|code`, or a code alone; both must be public. Digits alone are too much like a number that somebody was given.
fn is_public(value: &str) -> bool {
    match value.split_once('|') {
        Some((system, code)) => !system.is_empty() && deid::is_public_code(Some(system), code),
        None => value.bytes().any(|byte| !byte.is_ascii_digit()) && deid::is_public_code(None, value),
    }
}

/// A year and nothing finer, in which nobody can have been born whose age is not told. Not `ap`: how near is near enough is the
/// upstream's to say, and goes by days.
fn is_year(value: &str, oldest: i32) -> bool {
    let year = match value.split_at_checked(2) {
        Some(("eq" | "ne" | "gt" | "lt" | "ge" | "le" | "sa" | "eb", rest)) => rest,
        _ => value,
    };
    let plain = year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit());
    plain && year.parse::<i32>().is_ok_and(|year| year >= oldest)
}

/// The type and the surrogate in the value of a reference; none in what is no instance of this gate's, or a version.
fn name_in<'v>(value: &'v str, base: &str) -> Option<(Option<ResourceType>, &'v str)> {
    if Id::fits(value) {
        return Some((None, value));
    }
    match references::parse(value) {
        Reference::Relative { kind, id, version: None } => Some((Some(kind), id)),
        Reference::Absolute { base: named, kind, id, version: None } if named == base => Some((Some(kind), id)),
        _ => None,
    }
}

/// Whether the values of a parameter are names of instances.
fn names_instances(param: &Param) -> bool {
    let named = param.name == "_id" || param.kind == ParamKind::Reference;
    named && param.modifier != Some(Modifier::Missing)
}

/// Every text in it that should be a surrogate.
fn named(asked: &Interaction, base: &str) -> BTreeSet<String> {
    match asked {
        Interaction::Read { id, .. } => BTreeSet::from([id.as_str().to_owned()]),
        Interaction::Page { token, .. } => BTreeSet::from([token.clone()]),
        Interaction::Search(search) => {
            let values = search.params.iter().filter(|param| names_instances(param)).flat_map(|param| &param.values);
            let names = values.filter_map(|value| name_in(value, base)).map(|(_, name)| name.to_owned());
            names.chain(search.compartment.iter().map(|id| id.as_str().to_owned())).collect()
        }
        _ => BTreeSet::new(),
    }
}

/// The same with what its surrogates stand for in their place.
fn rewritten(asked: Interaction, base: &str, meant: &Meant) -> Result<Interaction, Refusal> {
    Ok(match asked {
        Interaction::Read { kind, id, view } => Interaction::Read { kind, id: id_of(meant, kind, id.as_str())?, view },
        Interaction::Page { kind, token } => {
            let token = match meant.get(&token) {
                Some(Stood::Page(sealed)) => sealed.clone(),
                // Opens as no link of ours does.
                _ => String::new(),
            };
            Interaction::Page { kind, token }
        }
        Interaction::Search(mut search) => {
            if let Some(patient) = &search.compartment {
                search.compartment = Some(id_of(meant, ResourceType::PATIENT, patient.as_str())?);
            }
            let kind = search.kind;
            for param in search.params.iter_mut().filter(|param| names_instances(param)) {
                let target = match param.modifier {
                    Some(Modifier::Type(target)) => Some(target),
                    _ => None,
                };
                for value in &mut param.values {
                    *value = if param.name == "_id" {
                        id_of(meant, kind, value)?.as_str().to_owned()
                    } else {
                        reference(meant, target, value, base)
                    };
                }
            }
            Interaction::Search(search)
        }
        other => other,
    })
}

/// The upstream's instance that a surrogate stands for, if it is of the type asked for.
fn instance<'m>(meant: &'m Meant, kind: Option<ResourceType>, name: &str) -> Option<(ResourceType, &'m str)> {
    match meant.get(name)? {
        Stood::Instance { base: None, kind: known, id } if kind.is_none_or(|kind| kind == *known) => {
            Some((*known, id.as_str()))
        }
        _ => None,
    }
}

fn id_of(meant: &Meant, kind: ResourceType, name: &str) -> Result<Id, Refusal> {
    let id = instance(meant, Some(kind), name).map_or(NOBODY, |(_, id)| id);
    id.parse().map_err(|_| refused("this names no resource"))
}

fn reference(meant: &Meant, target: Option<ResourceType>, value: &str, base: &str) -> String {
    let Some((named, name)) = name_in(value, base) else { return NOBODY.to_owned() };
    let kind = named.or(target);
    match (instance(meant, kind, name), kind) {
        (Some((kind, id)), _) => format!("{kind}/{id}"),
        (None, Some(kind)) => format!("{kind}/{NOBODY}"),
        (None, None) => NOBODY.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use fhir::request::{Method, Raw};

    use super::*;

    const BASE: &str = "https://gate/mercy/fhir";
    const ONE: &str = "11111111-1111-4111-8111-111111111111";
    const TWO: &str = "22222222-2222-4222-8222-222222222222";

    fn read(path: &str) -> Interaction {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        fhir::request::read(&Raw::plain(Method::Get, path, query)).unwrap_or_else(|why| panic!("{path}: {}", why.what))
    }

    fn bounds(shared: &BTreeSet<ResourceType>) -> Bounds<'_> {
        Bounds { base: BASE, oldest: 1937, shared }
    }

    fn is_allowed(path: &str) -> bool {
        check(&read(path), &bounds(&BTreeSet::from([ResourceType::PRACTITIONER]))).is_ok()
    }

    #[test]
    fn s4_06_what_identifies_nobody_may_be_asked_and_nothing_else() {
        for path in [
            format!("/Patient/{ONE}").as_str(),
            format!("/Patient/{ONE}/Observation?code=http://loinc.org|8302-2").as_str(),
            "/Observation?code=8302-2&status=final",
            "/Observation?category=http://terminology.hl7.org/CodeSystem/observation-category|vital-signs",
            "/Observation?date=2024",
            "/Observation?date=ge2020&date=lt2024&_count=1",
            "/Observation?date=sa2020&date=eb2024&date=ne2022",
            format!("/Practitioner?_id={TWO}").as_str(),
            "/Encounter?status=finished",
            "/Observation?status:not=cancelled",
            "/Observation/$lastn?category=vital-signs",
            "/Observation/$lastn?max=1",
            format!("/Observation?subject=Patient/{ONE}").as_str(),
            format!("/Observation?subject:Patient={ONE}").as_str(),
            format!("/Observation?encounter={BASE}/Encounter/{TWO}").as_str(),
            format!("/Observation?_id={TWO}").as_str(),
            "/Patient?gender=female&birthdate=1980",
            "/Patient?active=true",
            "/Observation?_include=Observation:encounter&_elements=code",
            "/Observation?_hilum=abc",
        ] {
            assert!(is_allowed(path), "{path}");
        }
        for path in [
            "/Patient?name=Smith",
            "/Patient?family=Smith",
            "/Patient?identifier=http://hospital.example|1",
            "/Patient?identifier=38341003",
            "/Patient?identifier=http://loinc.org|8302-2",
            "/Patient?phone=38341003",
            "/Patient?email=38341003",
            "/Patient?telecom=38341003",
            "/Patient?address-postalcode=02134",
            "/Patient?birthdate=1980-05",
            "/Patient?birthdate=1980-05-17",
            "/Patient?birthdate=1930",
            "/Patient?birthdate=lt1936",
            "/Patient?general-practitioner=https://elsewhere/Practitioner/1",
            "/Observation?date=2024-01-01T10:00:00Z",
            "/Observation?_lastUpdated=2024",
            "/Observation?_lastUpdated=gt2024-01-01",
            "/Observation?_profile=http://x",
            "/Observation?code=Smith",
            "/Observation?code=http://hospital.example|Smith",
            "/Observation?code=|8302-2",
            "/Observation?code=http://loinc.org|",
            "/Observation?code:missing=maybe",
            "/Observation?value-quantity=90",
            "/Observation?value-string=Smith",
            "/Observation?subject:Patient.name=Smith",
            "/Observation?date=ap2024",
            "/Observation?code=38341003",
            "/Practitioner",
            "/Practitioner?active=true",
            "/Observation/$lastn?max=2",
            "/Observation?_sort=date",
            "/Observation?_sort=-date",
            "/Observation?_sort=status",
            "/Observation?_sort=_id",
            "/Observation?_sort=_lastUpdated",
            "/Patient?_sort=family",
            "/Patient/1/_history",
            "/Patient/1/_history/1",
            "/Patient/1/$everything",
            "/Binary/1",
        ] {
            // Some are refused before it comes to that.
            let (bare, query) = path.split_once('?').map_or((path, None), |(bare, query)| (bare, Some(query)));
            let Ok(asked) = fhir::request::read(&Raw::plain(Method::Get, bare, query)) else { continue };
            let refusal = check(&asked, &bounds(&BTreeSet::from([ResourceType::PRACTITIONER]))).err();
            assert_eq!(refusal.map(|refusal| refusal.reason), Some(Reason::DeIdentified), "{path}");
        }
    }

    #[test]
    fn surrogates_become_what_they_stand_for_and_anything_else_nobody() {
        let meant = Meant::from([
            (ONE.to_owned(), Stood::instance(ResourceType::PATIENT, "real-patient")),
            (TWO.to_owned(), Stood::instance(ResourceType::OBSERVATION, "real-observation")),
        ]);
        let id = |path: &str| match rewritten(read(path), BASE, &meant).unwrap() {
            Interaction::Read { id, .. } => id.as_str().to_owned(),
            other => panic!("{}", other.name()),
        };
        assert_eq!(id(&format!("/Patient/{ONE}")), "real-patient");
        assert_eq!(id(&format!("/Observation/{TWO}")), "real-observation");
        // Of another type, unknown, or the real one: nobody.
        assert_eq!(id(&format!("/Encounter/{TWO}")), NOBODY);
        assert_eq!(id("/Patient/real-patient"), NOBODY);

        let asked = read(&format!("/Observation?subject=Patient/{ONE},Patient/real-patient&subject={ONE}&_id={TWO},x"));
        let names = named(&asked, BASE);
        assert!(names.contains(ONE) && names.contains(TWO) && names.contains("real-patient"));
        let Interaction::Search(search) = rewritten(asked, BASE, &meant).unwrap() else { panic!("no search") };
        let values: BTreeSet<&str> = search.params.iter().flat_map(|param| &param.values).map(String::as_str).collect();
        let nobody = format!("Patient/{NOBODY}");
        assert_eq!(values, BTreeSet::from(["Patient/real-patient", nobody.as_str(), "real-observation", NOBODY]));

        let page =
            |token: &str, meant: &Meant| match rewritten(read(&format!("/Observation?_hilum={token}")), BASE, meant) {
                Ok(Interaction::Page { token, .. }) => token,
                _ => panic!("no page"),
            };
        assert_eq!(page("sealed", &meant), "", "a link of another session's kind is none");
        assert_eq!(page(TWO, &meant), "");
        let with_page = Meant::from([(ONE.to_owned(), Stood::Page("sealed".into()))]);
        assert_eq!(page(ONE, &with_page), "sealed");
    }
}
