//! The search parameters of R4, by type.

use std::sync::LazyLock;

use crate::owner::{self, OwnerRule};
use crate::tables::{rows, type_count};
use crate::{ElementPath, ResourceType, compartment};

/// How the values of a parameter are read (R4 search, 3.1.1.4).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[allow(missing_docs, reason = "the words of the standard")]
pub enum ParamKind {
    Number,
    Date,
    String,
    Token,
    Reference,
    Composite,
    Quantity,
    Uri,
    Special,
}

impl ParamKind {
    /// Its name in a CapabilityStatement (R4 SearchParamType).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Date => "date",
            Self::String => "string",
            Self::Token => "token",
            Self::Reference => "reference",
            Self::Composite => "composite",
            Self::Quantity => "quantity",
            Self::Uri => "uri",
            Self::Special => "special",
        }
    }
}

/// One search parameter of one type.
#[derive(Clone, Copy, Debug)]
pub struct SearchParam {
    /// As written in a query, without modifier.
    pub name: &'static str,
    /// How its values are read.
    pub kind: ParamKind,
    /// The elements it looks at; none: it cannot be evaluated on a resource at hand (composites, special expressions).
    pub paths: &'static [ElementPath],
    /// For references, the types it may point to.
    pub targets: &'static [ResourceType],
    /// Whether it can point to a Patient.
    pub patient: bool,
}

impl SearchParam {
    /// Whether a resource at hand can be matched against it.
    #[must_use]
    pub fn evaluable(&self) -> bool {
        !self.paths.is_empty()
    }
}

static PARAMS: LazyLock<Vec<Vec<SearchParam>>> = LazyLock::new(|| {
    let every: &'static [ResourceType] = ResourceType::all().collect::<Vec<_>>().leak();
    let mut params: Vec<Vec<SearchParam>> = vec![Vec::new(); type_count()];
    for [owner, name, kind, paths, targets] in rows(include_str!("../tables/params.tsv")) {
        let Some(kind) = parse_kind(kind) else { continue };
        let targets = if targets == "*" { every } else { parse_types(targets) };
        let patient = kind == ParamKind::Reference && targets.contains(&ResourceType::PATIENT);
        let param = SearchParam { name, kind, paths: ElementPath::parse_list(paths), targets, patient };
        match owner.parse::<ResourceType>() {
            Ok(owner) => params.get_mut(owner.index()).into_iter().for_each(|list| list.push(param)),
            Err(_) => params.iter_mut().for_each(|list| list.push(param)),
        }
    }
    params.iter_mut().for_each(|list| list.sort_unstable_by_key(|param| param.name));
    params
});

static NARROW_BY: LazyLock<Vec<Option<&'static str>>> =
    LazyLock::new(|| ResourceType::all().map(find_narrowing).collect());

/// The parameter `name` of type `kind`, common ones included; case matters.
#[must_use]
pub fn find(kind: ResourceType, name: &str) -> Option<&'static SearchParam> {
    let params = all(kind);
    params.binary_search_by(|param| param.name.cmp(name)).ok().and_then(|at| params.get(at))
}

/// Every parameter of type `kind`, sorted by name: its own and `_id`, `_lastUpdated`, `_profile`, `_security`,
/// `_source`, `_tag`.
#[must_use]
pub fn all(kind: ResourceType) -> &'static [SearchParam] {
    PARAMS.get(kind.index()).map_or(&[], Vec::as_slice)
}

/// The parameter by which a search of `kind` is narrowed to one patient: it looks only where the owner rule looks, so
/// narrowing loses nothing that could be released. `_id` for Patient; none for a type without an owner.
#[must_use]
pub fn narrow_by(kind: ResourceType) -> Option<&'static str> {
    NARROW_BY.get(kind.index()).copied().flatten()
}

fn find_narrowing(kind: ResourceType) -> Option<&'static str> {
    // What a released resource must refer to the patient by: its subject, or its compartment elements.
    let required = match owner::rule(kind) {
        OwnerRule::Own => return Some("_id"),
        OwnerRule::Outside => return None,
        OwnerRule::Primary(paths) | OwnerRule::Added(paths) => paths,
        OwnerRule::EveryParty(_) => compartment::patient_paths(kind),
    };
    let looks_there = |param: &&SearchParam| {
        param.patient && param.evaluable() && param.paths.iter().all(|path| holds(required, path))
    };
    let named = |name| find(kind, name).filter(looks_there);
    let fullest = || all(kind).iter().filter(looks_there).max_by_key(|param| param.paths.len());
    named("patient").or_else(|| named("subject")).or_else(fullest).map(|param| param.name)
}

fn holds(required: &[ElementPath], path: &ElementPath) -> bool {
    required.iter().any(|known| known.elements == path.elements)
}

fn parse_types(text: &'static str) -> &'static [ResourceType] {
    text.split(' ').filter_map(|name| name.parse().ok()).collect::<Vec<_>>().leak()
}

fn parse_kind(text: &str) -> Option<ParamKind> {
    Some(match text {
        "number" => ParamKind::Number,
        "date" => ParamKind::Date,
        "string" => ParamKind::String,
        "token" => ParamKind::Token,
        "reference" => ParamKind::Reference,
        "composite" => ParamKind::Composite,
        "quantity" => ParamKind::Quantity,
        "uri" => ParamKind::Uri,
        "special" => ParamKind::Special,
        _ => return None,
    })
}
