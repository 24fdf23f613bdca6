//! Where references stand in R4 resources: a graph over the elements that are or hold a Reference.
//!
//! Datatypes and contentReferences are shared nodes, so nesting of any depth is followed; a step is a binary search in
//! a short slice and allocates nothing.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::json::name_hash;
use crate::tables::{rows, type_count};
use crate::{ElementPath, ResourceType};

/// A position in the element structure of a resource. Start with [`Place::root`], step with [`Place::child`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place(u32);

const UNKNOWN: Place = Place(0);
const REFERENCE: Place = Place(1);
const PATIENT_REFERENCE: Place = Place(2);

/// Elements that are References wherever they stand in R4, so also below an element the tables do not know.
const ALWAYS: [&str; 7] =
    ["assigner", "authorReference", "onBehalfOf", "subjectReference", "timingReference", "valueReference", "who"];

struct Child {
    hash: u16,
    name: &'static str,
    place: Place,
}

struct Graph {
    /// Children by the hash of their names, sorted.
    nodes: Vec<Vec<Child>>,
    roots: Vec<Place>,
    extension: Place,
}

static GRAPH: LazyLock<Graph> = LazyLock::new(|| build(include_str!("../tables/structure.tsv")));

impl Place {
    /// The root of a resource of type `kind`.
    #[must_use]
    pub fn root(kind: ResourceType) -> Self {
        GRAPH.roots.get(kind.index()).copied().unwrap_or(UNKNOWN)
    }

    /// The element `name` below this one. For a resource in `contained` start again with its own type.
    #[must_use]
    pub fn child(self, name: &str) -> Self {
        let hash = name_hash(name.as_bytes());
        let children = GRAPH.nodes.get(self.0 as usize).map_or(&[][..], Vec::as_slice);
        let first = children.partition_point(|child| child.hash < hash);
        let same = children.iter().skip(first).take_while(|child| child.hash == hash);
        if let Some(child) = same.into_iter().find(|child| child.name == name) {
            return child.place;
        }
        match name {
            "extension" | "modifierExtension" => GRAPH.extension,
            _ if ALWAYS.contains(&name) => PATIENT_REFERENCE,
            _ => UNKNOWN,
        }
    }

    /// Whether R4 says that a Reference stands here.
    #[must_use]
    #[inline]
    pub fn is_reference(self) -> bool {
        matches!(self, REFERENCE | PATIENT_REFERENCE)
    }

    /// Whether it may point to a Patient.
    #[must_use]
    pub fn may_be_patient(self) -> bool {
        self == PATIENT_REFERENCE
    }
}

/// Every element of `kind` that may point to a Patient, extensions left out. Recursive structures are followed once.
pub(crate) fn patient_elements(kind: ResourceType) -> Vec<ElementPath> {
    fn walk(place: Place, above: &mut Vec<(&'static str, Place)>, found: &mut Vec<ElementPath>) {
        let children = GRAPH.nodes.get(place.0 as usize).map_or(&[][..], Vec::as_slice);
        for Child { name, place: child, .. } in children {
            if child.may_be_patient() {
                let elements: Vec<&'static str> = above.iter().map(|(name, _)| *name).chain([*name]).collect();
                found.push(ElementPath { elements: elements.leak(), patient_only: false });
            }
            // A place that stands above itself is a contentReference to an ancestor.
            if !child.is_reference() && place != *child && above.iter().all(|(_, seen)| seen != child) {
                above.push((name, *child));
                walk(*child, above, found);
                above.pop();
            }
        }
    }
    let mut found = Vec::new();
    walk(Place::root(kind), &mut Vec::new(), &mut found);
    found
}

/// Nodes under construction: names to node numbers.
struct Builder {
    nodes: Vec<BTreeMap<&'static str, Place>>,
    owners: BTreeMap<&'static str, Place>,
}

impl Builder {
    fn add(&mut self) -> Place {
        let place = Place(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(BTreeMap::new());
        place
    }

    fn owner(&mut self, name: &'static str) -> Place {
        if let Some(place) = self.owners.get(name) {
            return *place;
        }
        let place = self.add();
        self.owners.insert(name, place);
        place
    }

    /// The node at `steps` below `from`, made where it is missing.
    fn reach(&mut self, from: Place, steps: &[&'static str]) -> Place {
        steps.iter().fold(from, |at, step| {
            if let Some(known) = self.nodes.get(at.0 as usize).and_then(|children| children.get(step)) {
                return *known;
            }
            let made = self.add();
            self.link(at, step, made);
            made
        })
    }

    fn link(&mut self, from: Place, name: &'static str, to: Place) {
        if let Some(children) = self.nodes.get_mut(from.0 as usize) {
            children.insert(name, to);
        }
    }
}

fn children(names: BTreeMap<&'static str, Place>) -> Vec<Child> {
    let hashed = |(name, place): (&'static str, _)| Child { hash: name_hash(name.as_bytes()), name, place };
    let mut children: Vec<Child> = names.into_iter().map(hashed).collect();
    children.sort_by_key(|child| (child.hash, child.name));
    children
}

fn build(text: &'static str) -> Graph {
    let mut builder = Builder { nodes: vec![BTreeMap::new(); 3], owners: BTreeMap::new() };
    // Elements first, then contentReferences: what those name is an element of the same type.
    for pass in ["elements", "content references"] {
        for [owner, path, what, ..] in rows(text) {
            if what.starts_with('^') == (pass == "elements") {
                continue;
            }
            let steps: Vec<&'static str> = path.split('.').collect();
            let Some((last, above)) = steps.split_last() else { continue };
            let root = builder.owner(owner);
            let target = match (what, what.split_at_checked(1)) {
                ("R", _) => REFERENCE,
                ("P", _) => PATIENT_REFERENCE,
                (_, Some(("@", datatype))) => builder.owner(datatype),
                (_, Some(("^", path))) => builder.reach(root, &path.split('.').collect::<Vec<_>>()),
                _ => continue,
            };
            let at = builder.reach(root, above);
            builder.link(at, last, target);
        }
    }
    let identifier = builder.owner("Identifier");
    for reference in [REFERENCE, PATIENT_REFERENCE] {
        builder.link(reference, "identifier", identifier);
    }
    let extension = builder.owner("Extension");
    let mut roots = vec![UNKNOWN; type_count()];
    for kind in ResourceType::all() {
        if let (Some(slot), Some(place)) = (roots.get_mut(kind.index()), builder.owners.get(kind.name())) {
            *slot = *place;
        }
    }
    Graph { nodes: builder.nodes.into_iter().map(children).collect(), roots, extension }
}

#[test]
fn references_are_found_at_any_depth() {
    let at = |kind: ResourceType, path: &str| path.split('.').fold(Place::root(kind), Place::child);
    for (kind, path, reference, patient) in [
        (ResourceType::OBSERVATION, "subject", true, true),
        (ResourceType::OBSERVATION, "encounter", true, false),
        (ResourceType::OBSERVATION, "code", false, false),
        (ResourceType::OBSERVATION, "note.authorReference", true, true),
        (ResourceType::OBSERVATION, "identifier.assigner.identifier.assigner", true, false),
        (ResourceType::OBSERVATION, "subject.identifier.assigner", true, false),
        (ResourceType::OBSERVATION, "valuePeriod.extension.extension.valueReference", true, true),
        (ResourceType::OBSERVATION, "code.coding.extension.valueIdentifier.assigner", true, false),
        (ResourceType::OBSERVATION, "unheardOf.deep.valueReference", true, true),
        (ResourceType::MEDICATION_REQUEST, "medicationReference", true, false),
        (ResourceType::PROVENANCE, "entity.agent.who", true, true),
        (ResourceType::COMPOSITION, "section.section.section.entry", true, true),
        (ResourceType::CONSENT, "provision.provision.actor.reference", true, true),
        (ResourceType::PARAMETERS, "parameter.part.part.valueReference", true, true),
        (ResourceType::CONTRACT, "term.asset.answer.valueReference", true, true),
        (ResourceType::BINARY, "securityContext", true, true),
        (ResourceType::PATIENT, "link.other", true, true),
    ] {
        let place = at(kind, path);
        assert_eq!((place.is_reference(), place.may_be_patient()), (reference, patient), "{kind} {path}");
    }
}
