//! What R4 says of every element: its datatype and whether it repeats, by its name on the wire (`tables/lists.tsv`).
//!
//! Datatypes and contentReferences are shared nodes, so nesting of any depth is followed. A look-up is a binary search in a
//! short slice and allocates nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use crate::ResourceType;
use crate::json::name_hash;
use crate::tables::rows;

/// Something with elements: a resource type, a datatype, or an element that is no datatype of its own.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Complex(u32);

/// What an element, or each of its repetitions, holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Datatype {
    /// One JSON value.
    Primitive(Primitive),
    /// An object with elements.
    Complex(Complex),
    /// A resource of any type, which its `resourceType` tells.
    Resource,
}

/// One element.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Element {
    /// Its name in a path: `value` for `valueQuantity`.
    pub name: &'static str,
    /// Whether it is a list.
    pub repeats: bool,
    /// What it holds.
    pub datatype: Datatype,
}

/// The primitive datatypes of R4.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are FHIR's own")]
pub enum Primitive {
    Base64Binary,
    Boolean,
    Canonical,
    Code,
    Date,
    DateTime,
    Decimal,
    Id,
    /// `instant`: pure crates keep that word out, for it is the clock's.
    Moment,
    Integer,
    Markdown,
    Oid,
    PositiveInt,
    String,
    Time,
    UnsignedInt,
    Uri,
    Url,
    Uuid,
    Xhtml,
}

const PRIMITIVES: [(&str, Primitive); 20] = [
    ("base64Binary", Primitive::Base64Binary),
    ("boolean", Primitive::Boolean),
    ("canonical", Primitive::Canonical),
    ("code", Primitive::Code),
    ("date", Primitive::Date),
    ("dateTime", Primitive::DateTime),
    ("decimal", Primitive::Decimal),
    ("id", Primitive::Id),
    ("instant", Primitive::Moment),
    ("integer", Primitive::Integer),
    ("markdown", Primitive::Markdown),
    ("oid", Primitive::Oid),
    ("positiveInt", Primitive::PositiveInt),
    ("string", Primitive::String),
    ("time", Primitive::Time),
    ("unsignedInt", Primitive::UnsignedInt),
    ("uri", Primitive::Uri),
    ("url", Primitive::Url),
    ("uuid", Primitive::Uuid),
    ("xhtml", Primitive::Xhtml),
];

/// What the table calls elements that are no datatype.
const BACKBONE: &str = "BackboneElement";

impl Primitive {
    /// The datatype of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        PRIMITIVES.iter().find(|(known, _)| *known == name).map(|(_, primitive)| *primitive)
    }

    /// Its name in R4.
    #[must_use]
    pub fn name(self) -> &'static str {
        PRIMITIVES.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}

struct Child {
    hash: u16,
    wire: &'static str,
    element: Element,
}

struct Node {
    name: &'static str,
    /// By the hash of their names, sorted.
    children: Vec<Child>,
}

struct Graph {
    nodes: Vec<Node>,
    /// Resource types and datatypes.
    named: BTreeMap<&'static str, Complex>,
}

static GRAPH: LazyLock<Graph> = LazyLock::new(|| build(include_str!("../tables/lists.tsv")));

impl Complex {
    /// The elements of a type of resource.
    #[must_use]
    pub fn resource(kind: ResourceType) -> Option<Self> {
        GRAPH.named.get(kind.name()).copied()
    }

    /// The elements of a datatype by its name.
    #[must_use]
    pub fn datatype(name: &str) -> Option<Self> {
        GRAPH.named.get(name).copied().filter(|_| name.parse::<ResourceType>().is_err())
    }

    /// The name of its type; `BackboneElement` if it has none of its own.
    #[must_use]
    pub fn name(self) -> &'static str {
        GRAPH.nodes.get(self.0 as usize).map_or("", |node| node.name)
    }

    /// Its element of this name on the wire (`valueQuantity`), those that all types share included.
    #[must_use]
    pub fn element(self, wire: &str) -> Option<&'static Element> {
        let hash = name_hash(wire.as_bytes());
        let children = GRAPH.nodes.get(self.0 as usize).map_or(&[][..], |node| node.children.as_slice());
        let first = children.partition_point(|child| child.hash < hash);
        let mut same = children.iter().skip(first).take_while(|child| child.hash == hash);
        same.find(|child| child.wire == wire).map(|child| &child.element)
    }

    /// All its elements by their names on the wire, in no order that means something.
    pub fn elements(self) -> impl Iterator<Item = (&'static str, &'static Element)> {
        let children = GRAPH.nodes.get(self.0 as usize).map_or(&[][..], |node| node.children.as_slice());
        children.iter().map(|child| (child.wire, &child.element))
    }
}

impl fmt::Debug for Complex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Complex({})", self.name())
    }
}

/// Whether R4 has an element of this name anywhere.
#[must_use]
pub fn is_name(name: &str) -> bool {
    GRAPH.nodes.iter().any(|node| node.children.iter().any(|child| child.element.name == name))
}

/// Every resource type, datatype and element with elements.
pub fn all() -> impl Iterator<Item = Complex> {
    (0_u32..).zip(&GRAPH.nodes).map(|(at, _)| Complex(at))
}

/// Node numbers by owner and path.
type Places = BTreeMap<(&'static str, &'static str), Complex>;

fn build(text: &'static str) -> Graph {
    let rows: Vec<[&'static str; 5]> = rows(text).collect();
    let places: Places = (0_u32..).zip(&rows).map(|(at, [owner, path, ..])| ((*owner, *path), Complex(at))).collect();
    let of = |owner| {
        let mut all = rows.iter();
        all.find_map(|[name, path, words, ..]| (*name == owner && *path == "-").then_some(*words)).unwrap_or("")
    };
    let (domain, backbone) = (of("DomainResource"), of(BACKBONE));
    let node = |[owner, path, words, ..]: &[&'static str; 5]| {
        let resource = *path == "-" && owner.parse::<ResourceType>().is_ok();
        let shared = if resource { domain } else { backbone };
        let mut children: Vec<Child> = Vec::new();
        for word in words.split(' ').chain(shared.split(' ')) {
            add(&mut children, &places, owner, path, word);
        }
        children.sort_by_key(|child| (child.hash, child.wire));
        Node { name: if *path == "-" { owner } else { BACKBONE }, children }
    };
    let nodes = rows.iter().map(node).collect();
    let named =
        places.iter().filter(|((_, path), _)| *path == "-").map(|((owner, _), place)| (*owner, *place)).collect();
    Graph { nodes, named }
}

/// Adds what one word of the table means, unless an element of its name is there already.
fn add(out: &mut Vec<Child>, places: &Places, owner: &'static str, path: &str, word: &'static str) {
    let Some((head, what)) = word.split_once(':') else { return };
    let (name, repeats) = head.strip_suffix('*').map_or((head, false), |name| (name, true));
    let mut child = |wire: &'static str, name: &'static str, datatype: Option<Datatype>| {
        let Some(datatype) = datatype else { return };
        if !out.iter().any(|child| child.wire == wire) {
            let element = Element { name, repeats, datatype };
            out.push(Child { hash: name_hash(wire.as_bytes()), wire, element });
        }
    };
    let inside = |path: &str| {
        let found = places.iter().find(|((known, at), _)| *known == owner && *at == path);
        found.map(|(_, place)| Datatype::Complex(*place))
    };
    if let Some(name) = name.strip_suffix("[x]") {
        let open: Vec<&'static str> = match what {
            "any" => PRIMITIVES
                .iter()
                .map(|(name, _)| *name)
                .filter(|name| *name != "xhtml")
                .chain(datatypes(places))
                .collect(),
            listed => listed.split('|').collect(),
        };
        for of in open {
            let mut letters = of.chars();
            let first = letters.next().map(|first| first.to_ascii_uppercase());
            let wire: String = name.chars().chain(first).chain(letters).collect();
            child(wire.leak(), name, named(places, of));
        }
        return;
    }
    let datatype = match what.strip_prefix('^') {
        Some(path) => inside(path),
        None if what == "+" && path == "-" => inside(name),
        None if what == "+" => inside(&format!("{path}.{name}")),
        None => named(places, what),
    };
    child(name, name, datatype);
}

/// Datatypes that an open choice may be.
fn datatypes(places: &Places) -> impl Iterator<Item = &'static str> {
    let open = |name: &str| name.parse::<ResourceType>().is_err() && !matches!(name, "DomainResource" | BACKBONE);
    places.keys().filter(move |(owner, path)| *path == "-" && open(owner)).map(|(owner, _)| *owner)
}

fn named(places: &Places, name: &'static str) -> Option<Datatype> {
    if let Some(primitive) = Primitive::named(name) {
        return Some(Datatype::Primitive(primitive));
    }
    if name == "Resource" || name.parse::<ResourceType>().is_ok() {
        return Some(Datatype::Resource);
    }
    places.get(&(name, "-")).map(|place| Datatype::Complex(*place))
}

#[test]
fn every_word_of_the_table_becomes_an_element() {
    for [owner, path, words, ..] in rows(include_str!("../tables/lists.tsv")) {
        let place =
            all().zip(rows(include_str!("../tables/lists.tsv"))).find(|(_, row)| row[0] == owner && row[1] == path);
        let (place, _) = place.unwrap();
        for word in words.split(' ') {
            let (head, what) = word.split_once(':').unwrap();
            let name = head.trim_end_matches('*').trim_end_matches("[x]");
            let count = place.elements().filter(|(_, element)| element.name == name).count();
            let expected = if what == "any" {
                50
            } else if what == "+" {
                1
            } else {
                what.split('|').count()
            };
            assert!(count >= expected, "{owner} {path} {word}: {count} of {expected}");
        }
    }
}

#[test]
fn elements_are_those_of_r4() {
    let at = |path: &str| {
        let mut names = path.split('.');
        let mut place = Complex::resource(names.next()?.parse().ok()?)?;
        let mut last = None;
        for name in names {
            if let Some(Element { datatype: Datatype::Complex(inner), .. }) = last {
                place = inner;
            }
            last = Some(*place.element(name)?);
        }
        last
    };
    let primitive = |primitive| Some(Datatype::Primitive(primitive));
    for (path, expected) in [
        ("Patient.birthDate", primitive(Primitive::Date)),
        ("Patient.deceasedDateTime", primitive(Primitive::DateTime)),
        ("Patient.id", primitive(Primitive::Id)),
        ("Patient.name.id", primitive(Primitive::String)),
        ("Patient.text.div", primitive(Primitive::Xhtml)),
        ("Patient.gender", primitive(Primitive::Code)),
        ("Patient.contained", Some(Datatype::Resource)),
        ("Bundle.entry.response.outcome", Some(Datatype::Resource)),
        ("Composition.section.section.section.title", primitive(Primitive::String)),
        ("Observation.valueQuantity.unit", primitive(Primitive::String)),
        ("Observation.component.referenceRange.age.low.value", primitive(Primitive::Decimal)),
        ("Patient.extension.extension.valueAddress.city", primitive(Primitive::String)),
        ("Observation.issued", primitive(Primitive::Moment)),
        ("Parameters.parameter.part.part.valueTime", primitive(Primitive::Time)),
        ("Observation.value", None),
        ("Patient.nmae", None),
        ("Patient.deceasedString", None),
    ] {
        assert_eq!(at(path).map(|element| element.datatype), expected, "{path}");
    }
    assert_eq!(at("Observation.valueQuantity").map(|element| element.name), Some("value"));
    assert!(Complex::datatype("Patient").is_none() && Complex::datatype("HumanName").is_some());
    assert!(is_name("birthDate") && !is_name("birthdate"));
}
