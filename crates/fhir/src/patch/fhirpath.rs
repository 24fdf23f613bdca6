//! FHIRPath Patch (FHIR R4, "FHIRPath Patch"): reading its operations from Parameters.

use super::given::Given;
use super::{InvalidPatch, each, pointer, quoted};
use crate::ResourceType;
use crate::json::{DEPTH_MAX, Kind, Value};

/// One operation.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Operation {
    pub(super) path: Path,
    pub(super) action: Action,
}

/// What an operation does at its path.
#[derive(Clone, Eq, PartialEq)]
pub(super) enum Action {
    Add { name: String, value: Given },
    Insert { index: usize, value: Given },
    Delete,
    Replace { value: Given },
    Move { source: usize, destination: usize },
}

/// `Type.element.element[0].element`.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Path {
    pub(super) kind: ResourceType,
    pub(super) steps: Vec<Step>,
}

/// One element of a path; the index counts in all that the path has found so far.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) index: Option<usize>,
}

/// Reads the resource.
pub(super) fn parse(root: Value<'_>) -> Result<Vec<Operation>, InvalidPatch> {
    if root.get_str("resourceType").as_deref() != Some("Parameters") {
        return InvalidPatch::malformed("a FHIRPath Patch is a Parameters resource");
    }
    if let Some((key, _)) = root
        .members()
        .find(|(key, _)| !matches!(&*key.text(), "resourceType" | "id" | "meta" | "language" | "parameter"))
    {
        return InvalidPatch::unsupported(format!("{} in Parameters", quoted(&key.text())));
    }
    let Some(list) = root.get("parameter") else { return Ok(Vec::new()) };
    if !list.is_array() {
        return InvalidPatch::malformed("`parameter` is not a list");
    }
    each(list.elements(), |parameter| match read(parameter)? {
        (name, Given::Parts(parts)) if name == "operation" => Parts(parts).operation(),
        (name, _) if name == "operation" => InvalidPatch::malformed("`operation` has no parts"),
        (name, _) => InvalidPatch::malformed(format!("{} is no parameter of a patch", quoted(&name))),
    })
}

/// The name and the one value of a parameter.
fn read(parameter: Value<'_>) -> Result<(String, Given), InvalidPatch> {
    let (mut name, mut given) = (None, None);
    for (key, value) in parameter.members() {
        let key = key.text();
        let found = match &*key {
            "id" => continue,
            "name" => {
                name = value.as_str();
                continue;
            }
            "resource" if value.is_object() => Given::Resource(value.raw().to_owned()),
            "part" if value.is_array() => {
                let parts: Vec<_> = value.elements().map(read).collect::<Result<_, _>>()?;
                if parts.is_empty() {
                    return InvalidPatch::malformed("`part` is empty");
                }
                Given::Parts(parts)
            }
            "resource" | "part" => return InvalidPatch::malformed(format!("`{key}` of another JSON type")),
            key => match key.strip_prefix("value") {
                Some(suffix) if suffix.starts_with(|c: char| c.is_ascii_uppercase()) => {
                    if matches!(value.kind(), Kind::Null | Kind::Array) {
                        return InvalidPatch::malformed(format!("{} of another JSON type", quoted(key)));
                    }
                    Given::Value { suffix: suffix.to_owned(), kind: value.kind(), text: value.raw().to_owned() }
                }
                // Primitive extensions and extensions of parameters change what a value means.
                _ => return InvalidPatch::unsupported(format!("{} in a parameter", quoted(key))),
            },
        };
        if given.replace(found).is_some() {
            return InvalidPatch::malformed("a parameter has two values");
        }
    }
    match (name, given) {
        (Some(name), Some(given)) => Ok((name.into_owned(), given)),
        (None, _) => InvalidPatch::malformed("a parameter without `name`"),
        (_, None) => InvalidPatch::malformed("a parameter without a value"),
    }
}

/// The parts of one operation, taken out one by one.
struct Parts(Vec<(String, Given)>);

impl Parts {
    fn operation(mut self) -> Result<Operation, InvalidPatch> {
        let kind = self.text("type")?;
        let path = Path::parse(&self.text("path")?)?;
        let action = match kind.as_str() {
            "add" => Action::Add { name: self.text("name")?, value: self.take("value")? },
            "insert" => Action::Insert { index: self.number("index")?, value: self.take("value")? },
            "delete" => Action::Delete,
            "replace" => Action::Replace { value: self.take("value")? },
            "move" => Action::Move { source: self.number("source")?, destination: self.number("destination")? },
            _ => return InvalidPatch::malformed(format!("{} is no operation", quoted(&kind))),
        };
        // What is left would be a second meaning: a part sent twice, or one that this operation does not have.
        if let Some((name, _)) = self.0.first() {
            return InvalidPatch::malformed(format!("{} has no place in `{kind}`", quoted(name)));
        }
        path.suits(&action)?;
        Ok(Operation { path, action })
    }

    fn take(&mut self, name: &str) -> Result<Given, InvalidPatch> {
        match self.0.iter().position(|(known, _)| known == name) {
            Some(at) => Ok(self.0.remove(at).1),
            None => InvalidPatch::malformed(format!("`{name}` is missing")),
        }
    }

    fn text(&mut self, name: &str) -> Result<String, InvalidPatch> {
        match self.take(name)? {
            Given::Value { suffix, kind: Kind::Plain, text } if matches!(suffix.as_str(), "String" | "Code") => {
                Ok(text.trim_matches('"').to_owned())
            }
            // No type, path or name needs an escape.
            Given::Value { kind: Kind::Escaped, .. } => InvalidPatch::unsupported(format!("`{name}` with an escape")),
            _ => InvalidPatch::malformed(format!("`{name}` is no string")),
        }
    }

    fn number(&mut self, name: &str) -> Result<usize, InvalidPatch> {
        let found = match self.take(name)? {
            Given::Value { suffix, kind: Kind::Number, text }
                if matches!(suffix.as_str(), "Integer" | "UnsignedInt" | "PositiveInt") =>
            {
                pointer::index(&text)
            }
            _ => None,
        };
        found.ok_or_else(|| InvalidPatch::Malformed(format!("`{name}` is no index")))
    }
}

impl Path {
    /// Element names and indices. All else of FHIRPath would need an engine that gives the same answer as the
    /// upstream's, and so is not offered.
    fn parse(text: &str) -> Result<Self, InvalidPatch> {
        let refuse = || InvalidPatch::Unsupported(format!("the path {}", quoted(text)));
        let mut parts = text.split('.');
        let kind = parts.next().and_then(|first| first.parse().ok()).ok_or_else(refuse)?;
        let steps: Vec<Step> = parts.map(Step::parse).collect::<Option<_>>().ok_or_else(refuse)?;
        if steps.len() > DEPTH_MAX as usize {
            return Err(InvalidPatch::TooLong(format!("the path {}", quoted(text))));
        }
        Ok(Self { kind, steps })
    }

    /// Whether it can be the path of `action`.
    fn suits(&self, action: &Action) -> Result<(), InvalidPatch> {
        match (action, self.steps.last()) {
            (Action::Add { .. }, _) => Ok(()),
            (_, None) => InvalidPatch::unsupported("only `add` works on the whole resource"),
            (Action::Insert { .. } | Action::Move { .. }, Some(Step { index: Some(_), .. })) => {
                InvalidPatch::unsupported("the path of a list ends with an index")
            }
            _ => Ok(()),
        }
    }
}

impl Step {
    fn parse(text: &str) -> Option<Self> {
        let (name, index) = match text.split_once('[') {
            Some((name, rest)) => (name, Some(pointer::index(rest.strip_suffix(']')?)?)),
            None => (text, None),
        };
        let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let right = letters && name.starts_with(|c: char| c.is_ascii_alphabetic());
        right.then(|| Self { name: name.to_owned(), index })
    }
}
