//! What R4 says of an element: whether it repeats, and what it holds (`tables/lists.tsv`).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::ResourceType;
use crate::json::{Kind, Value};
use crate::tables::rows;

/// The elements of a type by the element that holds them, as words of the table.
type Rows = BTreeMap<&'static str, &'static str>;

static TYPES: LazyLock<BTreeMap<&'static str, Rows>> = LazyLock::new(|| {
    let mut types: BTreeMap<&'static str, Rows> = BTreeMap::new();
    for [owner, path, words, ..] in rows(include_str!("../../tables/lists.tsv")) {
        types.entry(owner).or_default().insert(path, words);
    }
    types
});

/// Primitives, for choices that are open to every type. `xhtml` is in none.
const PRIMITIVES: [&str; 19] = [
    "base64Binary",
    "boolean",
    "canonical",
    "code",
    "date",
    "dateTime",
    "decimal",
    "id",
    "instant",
    "integer",
    "markdown",
    "oid",
    "positiveInt",
    "string",
    "time",
    "unsignedInt",
    "uri",
    "url",
    "uuid",
];

/// The types of a choice that is open to all of them, as the table has it.
pub(super) const ANY: &str = "any";

/// Something with elements: a type, or an element of it that is no type of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    owner: &'static str,
    path: &'static str,
}

/// One element of a place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Element {
    /// Its name in a path; a choice without its type.
    pub(super) name: &'static str,
    /// Whether it is a list.
    pub(super) repeats: bool,
    /// What it, or each of the list, holds.
    pub(super) holds: Holds,
}

/// What an element holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Holds {
    /// One shape.
    Only(Shape),
    /// One of several types, which its name tells. The column of the table.
    Choice(&'static str),
}

/// What one value is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shape {
    /// A primitive that is a JSON string.
    Text,
    /// `boolean`.
    Boolean,
    /// `integer`, `positiveInt` or `unsignedInt`.
    Integer,
    /// `decimal`.
    Decimal,
    /// An object with elements.
    Object(Place),
    /// A resource of its own type.
    Resource,
}

impl Place {
    /// The elements of a type of resource.
    pub(super) fn resource(kind: ResourceType) -> Option<Self> {
        Self::of(kind.name())
    }

    fn of(owner: &str) -> Option<Self> {
        TYPES.get_key_value(owner).map(|(owner, _)| Self { owner, path: "-" })
    }

    /// Its element `name`, those that all types share included.
    pub(super) fn child(self, name: &str) -> Option<Element> {
        let resource = self.path == "-" && self.owner.parse::<ResourceType>().is_ok();
        let shared = Self { owner: if resource { "DomainResource" } else { "BackboneElement" }, path: "-" };
        self.own_child(name).or_else(|| shared.own_child(name))
    }

    fn own_child(self, name: &str) -> Option<Element> {
        let words = TYPES.get(self.owner)?.get(self.path)?;
        words.split(' ').find_map(|word| {
            let (head, what) = word.split_once(':').unwrap_or((word, ""));
            let (known, repeats) = head.strip_suffix('*').map_or((head, false), |known| (known, true));
            let (known, choice) = known.strip_suffix("[x]").map_or((known, false), |known| (known, true));
            if known != name {
                return None;
            }
            let holds = if choice { Holds::Choice(what) } else { Holds::Only(self.shape(known, what)?) };
            Some(Element { name: known, repeats, holds })
        })
    }

    /// The shape that a word of this place means.
    fn shape(self, name: &str, what: &str) -> Option<Shape> {
        let inside = |path: &str| {
            let (path, _) = TYPES.get(self.owner)?.get_key_value(path)?;
            Some(Shape::Object(Self { owner: self.owner, path }))
        };
        match what.strip_prefix('^') {
            Some(path) => inside(path),
            None if what == "+" && self.path == "-" => inside(name),
            None if what == "+" => inside(&format!("{}.{name}", self.path)),
            None => Shape::of(what),
        }
    }
}

impl Shape {
    /// The shape of a type by its name.
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "boolean" => Self::Boolean,
            "decimal" => Self::Decimal,
            "integer" | "positiveInt" | "unsignedInt" => Self::Integer,
            "Resource" => Self::Resource,
            "xhtml" => Self::Text,
            name if PRIMITIVES.contains(&name) => Self::Text,
            name if name.parse::<ResourceType>().is_ok() => Self::Resource,
            name => Self::Object(Place::of(name)?),
        })
    }

    /// The elements of `value`, which has this shape.
    pub(super) fn place(self, value: Value<'_>) -> Option<Place> {
        if !value.is_object() {
            return None;
        }
        match self {
            Self::Object(place) => Some(place),
            Self::Resource => Place::resource(value.get_str("resourceType")?.parse().ok()?),
            _ => None,
        }
    }

    /// Whether a JSON value of this kind can be one.
    pub(super) fn fits(self, kind: Kind) -> bool {
        match self {
            Self::Text => matches!(kind, Kind::Plain | Kind::Escaped),
            Self::Boolean => matches!(kind, Kind::True | Kind::False),
            Self::Integer | Self::Decimal => kind == Kind::Number,
            Self::Object(_) | Self::Resource => kind == Kind::Object,
        }
    }

    /// The shape of a type as it ends the name of a choice: `dateTime` is `DateTime`. `types` is the table's column.
    pub(super) fn in_choice(types: &'static str, suffix: &str) -> Option<Self> {
        let is = |name: &&str| {
            let (a, b) = (name.as_bytes().split_first(), suffix.as_bytes().split_first());
            matches!((a, b), (Some((a, a_rest)), Some((b, b_rest))) if a.to_ascii_uppercase() == *b && a_rest == b_rest)
        };
        if types != ANY {
            return Self::of(types.split('|').find(is)?);
        }
        let open = |name: &&&str| {
            name.parse::<ResourceType>().is_err() && !matches!(**name, "DomainResource" | "BackboneElement")
        };
        PRIMITIVES
            .iter()
            .find(|name| is(name))
            .or_else(|| TYPES.keys().filter(open).find(|name| is(name)))
            .and_then(|name| Self::of(name))
    }
}

impl Element {
    /// The member of `object` that is this element: its name on the wire, its value and the shape of that.
    ///
    /// `Err` if a primitive extension stands beside or in place of it: the two would have to change together.
    pub(super) fn find<'d>(&self, object: Value<'d>) -> Result<Option<(String, Value<'d>, Shape)>, HasExtension> {
        let mut found = None;
        for (key, value) in object.members() {
            let name = key.text();
            let (plain, beside) = name.strip_prefix('_').map_or((&*name, false), |plain| (plain, true));
            let shape = match (self.holds, plain.strip_prefix(self.name)) {
                (Holds::Only(shape), Some("")) => shape,
                (Holds::Choice(types), Some(suffix)) => match Shape::in_choice(types, suffix) {
                    Some(shape) => shape,
                    None => continue,
                },
                _ => continue,
            };
            if beside {
                return Err(HasExtension);
            }
            found = Some((plain.to_owned(), value, shape));
        }
        Ok(found)
    }
}

/// A primitive extension (`_name`) stands where an operation would work.
pub(super) struct HasExtension;

#[test]
fn patch_elements_are_those_of_r4() {
    let at = |path: &str| {
        let mut names = path.split('.');
        let mut place = names.next().and_then(Place::of).unwrap();
        let mut last = None;
        for name in names {
            if let Some(Element { holds: Holds::Only(Shape::Object(inner)), .. }) = last {
                place = inner;
            }
            last = place.child(name);
        }
        last
    };
    for (path, repeats) in [
        ("Patient.name", true),
        ("Patient.name.given", true),
        ("Patient.name.family", false),
        ("Patient.contact.name", false),
        ("Patient.extension", true),
        ("Patient.contact.modifierExtension", true),
        ("Patient.contained", true),
        ("Patient.meta.tag", true),
        ("Composition.section.section.section.entry", true),
        ("Observation.component.referenceRange.appliesTo", true),
        ("Timing.repeat.dayOfWeek", true),
    ] {
        assert_eq!(at(path).unwrap().repeats, repeats, "{path}");
    }
    assert!(at("Patient.nmae").is_none() && at("Observation.valueQuantity").is_none());
    let Holds::Choice(types) = at("Observation.value").unwrap().holds else { panic!() };
    assert_eq!(Shape::in_choice(types, "DateTime"), Some(Shape::Text));
    assert_eq!(Shape::in_choice(types, "dateTime"), None);
    assert_eq!(Shape::in_choice(types, "Address"), None);
    let Holds::Choice(types) = at("Extension.value").unwrap().holds else { panic!() };
    assert_eq!(Shape::in_choice(types, "Decimal"), Some(Shape::Decimal));
    assert!(matches!(Shape::in_choice(types, "Address"), Some(Shape::Object(_))));
    assert_eq!(Shape::in_choice(types, "Patient"), None);
}

#[test]
fn every_word_of_the_patch_table_means_something() {
    for (owner, rows) in &*TYPES {
        for (path, words) in rows {
            for word in words.split(' ') {
                let name: String = word.chars().take_while(char::is_ascii_alphanumeric).collect();
                let element = Place { owner, path }.child(&name).unwrap_or_else(|| panic!("{owner} {path} {word}"));
                if let Holds::Choice(types) = element.holds {
                    let all = types.split('|').filter(|name| *name != ANY);
                    all.for_each(|name| assert!(Shape::of(name).is_some(), "{owner} {path} {word} {name}"));
                }
            }
        }
    }
}
