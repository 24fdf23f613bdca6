//! What the parameters of a query ask for. A parameter that is not in the table of the type is refused by name (p5).

use super::decode::Pair;
use super::{
    Asked, Body, FORM_BYTES_MAX, Hop, INCLUDES_MAX, Include, Inference, InvalidKind, InvalidRequest, Modifier,
    PARAMS_MAX, Param, Search, Summary, Total, View, decode, media, quote, value,
};
use crate::ResourceType;
use crate::params::{self, ParamKind, SearchParam};

/// Which parameters about the answer are offered.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Offers {
    Format,
    FormatAndProjection,
}

/// The page token, when the query is exactly one (PG-01).
pub(super) fn page(pairs: &[Pair]) -> Result<Option<String>, InvalidRequest> {
    match pairs {
        [only] if only.key == "_hilum" => sealed(&only.value).map(Some),
        _ if pairs.iter().any(|pair| pair.key == "_hilum") => {
            Err(InvalidRequest::malformed("a page link is followed unchanged"))
        }
        _ => Ok(None),
    }
}

/// The alphabet of sealed tokens (RFC 4648 §5).
pub(super) fn sealed(text: &str) -> Result<String, InvalidRequest> {
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        Ok(text.to_owned())
    } else {
        Err(InvalidRequest::malformed("`_hilum` is no token of ours"))
    }
}

/// The parameters of the query and of the form: both are asked for (PS-02, PS-03).
pub(super) fn with_form(mut pairs: Vec<Pair>, body: Option<Body<'_>>) -> Result<Vec<Pair>, InvalidRequest> {
    let Some(body) = body else { return Ok(pairs) };
    if body.bytes.is_empty() && body.media.is_none() {
        return Ok(pairs);
    }
    if !media::is_form(body.media) {
        let what = "send the search as `application/x-www-form-urlencoded`";
        return Err(InvalidRequest::new(InvalidKind::Media, what));
    }
    if body.bytes.len() > FORM_BYTES_MAX {
        return Err(InvalidRequest::new(InvalidKind::TooLarge, "the search form is too large"));
    }
    let text = std::str::from_utf8(body.bytes).map_err(|_| InvalidRequest::malformed("the form is not UTF-8"))?;
    pairs.extend(decode::form(text)?);
    if pairs.len() > PARAMS_MAX {
        return Err(InvalidRequest::malformed("too many parameters"));
    }
    Ok(pairs)
}

/// Takes the parameters about the view out, and gives back the others.
pub(super) fn split_view(pairs: &[Pair], offers: Offers) -> Result<(Vec<&Pair>, View), InvalidRequest> {
    let mut controls = Controls::default();
    let mut rest = Vec::new();
    for pair in pairs {
        let projects = matches!(pair.key.as_str(), "_elements" | "_summary");
        if (projects && offers == Offers::Format) || !controls.take_view(pair)? {
            rest.push(pair);
        }
    }
    Ok((rest, controls.into_view()?))
}

/// The parameters of a read or of the metadata; search parameters have no meaning there (RD-35).
pub(super) fn view(pairs: &[Pair], offers: Offers) -> Result<View, InvalidRequest> {
    match split_view(pairs, offers)? {
        (rest, view) if rest.is_empty() => Ok(view),
        (rest, _) => Err(unknown(rest.first().map_or("", |pair| &pair.key))),
    }
}

/// The parameters of a search of `kind`.
pub(super) fn search(kind: ResourceType, pairs: &[Pair], asked: Asked) -> Result<Search, InvalidRequest> {
    let mut controls = Controls::default();
    let (mut params, mut inference, mut includes, mut revincludes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for pair in pairs {
        if controls.take_view(pair)? || controls.take_page(pair)? {
            continue;
        }
        match pair.key.as_str() {
            "_sort" => controls.sort(kind, &pair.value, &mut inference)?,
            "_include" => includes.push(include(kind, &pair.value)?),
            "_include:iterate" => includes.push(iterated(&pair.key, &pair.value)?),
            "_revinclude" => revincludes.push(revinclude(kind, &pair.value)?),
            "_revinclude:iterate" => revincludes.push(iterated(&pair.key, &pair.value)?),
            _ => match infers(kind, pair)? {
                Some(found) => inference.push(found),
                None => params.push(param(kind, pair)?),
            },
        }
    }
    // One order for the same meaning: all parameters must hold, all includes are asked for.
    params.sort_by(|a, b| (a.name, a.modifier, &a.values).cmp(&(b.name, b.modifier, &b.values)));
    params.dedup();
    for list in [&mut includes, &mut revincludes] {
        list.sort_unstable();
        list.dedup();
    }
    if includes.len() + revincludes.len() > INCLUDES_MAX {
        return Err(InvalidRequest::malformed("too many includes"));
    }
    let (sort, count, total) = (controls.sort.take().unwrap_or_default(), controls.count, controls.total);
    let (compartment, view) = (None, controls.into_view()?);
    Ok(Search { kind, compartment, asked, params, inference, includes, revincludes, sort, count, total, view })
}

/// Parameters that may be there once, and say how to answer rather than what to find.
#[derive(Default)]
struct Controls {
    elements: Option<Vec<String>>,
    summary: Option<Summary>,
    pretty: Option<bool>,
    format: Option<()>,
    count: Option<u32>,
    total: Option<Total>,
    sort: Option<Vec<(String, bool)>>,
}

impl Controls {
    /// Takes a parameter that any answer can have.
    fn take_view(&mut self, pair: &Pair) -> Result<bool, InvalidRequest> {
        match pair.key.as_str() {
            "_elements" => once(&mut self.elements, pair, elements(&pair.value)?)?,
            "_summary" => once(&mut self.summary, pair, summary(&pair.value)?)?,
            "_pretty" => {
                let pretty =
                    pair.value.parse().map_err(|_| InvalidRequest::malformed("`_pretty` is `true` or `false`"))?;
                once(&mut self.pretty, pair, pretty)?;
            }
            "_format" => {
                media::check_format(&pair.value)?;
                once(&mut self.format, pair, ())?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes a parameter about the pages of a search.
    fn take_page(&mut self, pair: &Pair) -> Result<bool, InvalidRequest> {
        match pair.key.as_str() {
            "_count" => {
                once(&mut self.count, pair, count(&pair.value)?)?;
            }
            "_total" => {
                let total = match pair.value.as_str() {
                    "none" => Total::None,
                    "estimate" => Total::Estimate,
                    "accurate" => Total::Accurate,
                    _ => return Err(InvalidRequest::malformed("`_total` is `none`, `estimate` or `accurate`")),
                };
                once(&mut self.total, pair, total)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `_sort`: parameters of the type. A chain is no sort order of R4; one that spells out another type infers (SR-36).
    fn sort(&mut self, kind: ResourceType, text: &str, inference: &mut Vec<Inference>) -> Result<(), InvalidRequest> {
        let mut keys: Vec<(String, bool)> = Vec::new();
        for item in text.split(',') {
            let (name, down) = item.strip_prefix('-').map_or((item, false), |name| (name, true));
            if name.contains(':') {
                let pair = Pair { key: name.to_owned(), value: String::new() };
                inference.push(infers(kind, &pair)?.ok_or_else(|| sort_refused(name))?);
                continue;
            }
            let name = params::find(kind, name).ok_or_else(|| sort_refused(name))?.name;
            if keys.iter().any(|(before, _)| before == name) {
                return Err(InvalidRequest::malformed("`_sort` names a parameter twice"));
            }
            keys.push((name.to_owned(), down));
        }
        if self.sort.replace(keys).is_some() { Err(twice("_sort")) } else { Ok(()) }
    }

    fn into_view(self) -> Result<View, InvalidRequest> {
        let shortened = self.summary.is_some_and(|summary| summary != Summary::False);
        if self.elements.is_some() && shortened {
            return Err(InvalidRequest::not_supported("`_elements` and `_summary` cannot be combined"));
        }
        Ok(View { elements: self.elements, summary: self.summary, pretty: self.pretty.unwrap_or_default() })
    }
}

/// A number of up to nine digits.
pub(super) fn count(text: &str) -> Result<u32, InvalidRequest> {
    let digits = (1..=9).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| InvalidRequest::malformed("a count is no number"))
}

pub(super) fn once<T>(slot: &mut Option<T>, pair: &Pair, value: T) -> Result<(), InvalidRequest> {
    if slot.replace(value).is_some() { Err(twice(&pair.key)) } else { Ok(()) }
}

fn twice(key: &str) -> InvalidRequest {
    InvalidRequest::malformed(format!("{} is given twice", quote(key)))
}

pub(super) fn unknown(key: &str) -> InvalidRequest {
    InvalidRequest::not_supported(format!("the parameter {} is not supported here", quote(key)))
}

fn sort_refused(name: &str) -> InvalidRequest {
    InvalidRequest::not_supported(format!("sorting by {} is not supported", quote(name)))
}

/// `_elements`: a list of top-level names (EL-06).
fn elements(text: &str) -> Result<Vec<String>, InvalidRequest> {
    let mut names: Vec<String> = Vec::new();
    for name in text.split(',') {
        let mut bytes = name.bytes();
        let simple = bytes.next().is_some_and(|b| b.is_ascii_lowercase()) && bytes.all(|b| b.is_ascii_alphanumeric());
        if !simple || names.len() == PARAMS_MAX {
            return Err(InvalidRequest::malformed("`_elements` is a list of top-level element names"));
        }
        if !names.iter().any(|before| before == name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn summary(text: &str) -> Result<Summary, InvalidRequest> {
    match text {
        "true" => Ok(Summary::True),
        "text" => Ok(Summary::Text),
        "data" => Ok(Summary::Data),
        "false" => Ok(Summary::False),
        "count" => Err(InvalidRequest::not_supported("`_summary=count` is not supported")),
        _ => Err(InvalidRequest::malformed("`_summary` is `true`, `text`, `data` or `false`")),
    }
}

/// `_include=Source:param[:Target]`, one hop, from the type searched (IN-09, IN-16).
fn include(kind: ResourceType, text: &str) -> Result<Include, InvalidRequest> {
    let found = parse_include("_include", text)?;
    if found.source != kind {
        return Err(InvalidRequest::malformed("`_include` starts from another type than the one searched"));
    }
    Ok(found)
}

/// `:iterate` starts from what was included too, so from any type (IN-11, IN-13).
fn iterated(key: &str, text: &str) -> Result<Include, InvalidRequest> {
    Ok(Include { iterate: true, ..parse_include(key, text)? })
}

/// `_revinclude=Source:param[:Target]`, where the parameter can point to the type searched.
fn revinclude(kind: ResourceType, text: &str) -> Result<Include, InvalidRequest> {
    let found = parse_include("_revinclude", text)?;
    let points_here = params::find(found.source, found.param).is_some_and(|param| param.targets.contains(&kind));
    if !points_here || found.target.is_some_and(|target| target != kind) {
        return Err(InvalidRequest::malformed("`_revinclude` does not point to the type searched"));
    }
    Ok(found)
}

impl std::str::FromStr for Include {
    type Err = InvalidRequest;

    fn from_str(text: &str) -> Result<Self, InvalidRequest> {
        parse_include("_include", text)
    }
}

fn parse_include(key: &str, text: &str) -> Result<Include, InvalidRequest> {
    if text.contains('*') {
        return Err(InvalidRequest::not_supported(format!("`{key}`: wildcards are not supported")));
    }
    let invalid = || InvalidRequest::malformed(format!("`{key}` is not `Type:parameter` of a reference"));
    let mut parts = text.split(':');
    let (Some(source), Some(name), target, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(invalid());
    };
    let source: ResourceType = source.parse().map_err(|_| invalid())?;
    let param = params::find(source, name).filter(|param| param.kind == ParamKind::Reference).ok_or_else(invalid)?;
    let target = target.map(str::parse::<ResourceType>).transpose().map_err(|_| invalid())?;
    if target.is_some_and(|target| !param.targets.contains(&target)) {
        return Err(invalid());
    }
    Ok(Include { source, param: param.name, target, iterate: false })
}

/// The inference a parameter would draw: `_has`, or a chain. Deeper than one hop is refused at once (CH-06, CH-11).
fn infers(kind: ResourceType, pair: &Pair) -> Result<Option<Inference>, InvalidRequest> {
    let key = pair.key.as_str();
    let refused = || InvalidRequest::not_supported(format!("{} is not supported", quote(key)));
    let found = |types, hop| Ok(Some(Inference { param: key.to_owned(), value: pair.value.clone(), types, hop }));
    // What the other type's resource must satisfy; a value that does not fit makes no search of it.
    let wanted = |kind, key: &str| param(kind, &Pair { key: key.to_owned(), value: pair.value.clone() }).ok();
    if let Some(rest) = key.strip_prefix("_has:") {
        let mut parts = rest.splitn(3, ':');
        let (Some(source), Some(link), Some(last)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(refused());
        };
        let source: ResourceType = source.parse().map_err(|_| refused())?;
        let link = params::find(source, link).ok_or_else(refused)?;
        if last.starts_with("_has") || last.contains('.') || !link.targets.contains(&kind) {
            return Err(refused());
        }
        let hop = wanted(source, last).map(|wanted| Hop { kind: source, wanted, link: link.name, reverse: true });
        return found(vec![source], hop);
    }
    let Some((head, tail)) = key.split_once('.') else { return Ok(None) };
    let (name, target) = head.split_once(':').map_or((head, None), |(name, target)| (name, Some(target)));
    let link = params::find(kind, name).filter(|param| param.kind == ParamKind::Reference).ok_or_else(refused)?;
    let last = tail.split(':').next().unwrap_or_default();
    let types: Vec<ResourceType> = match target {
        Some(target) => vec![target.parse().map_err(|_| refused())?],
        None => link.targets.to_vec(),
    };
    let types: Vec<ResourceType> =
        types.into_iter().filter(|to| link.targets.contains(to) && params::find(*to, last).is_some()).collect();
    if tail.contains('.') || types.is_empty() {
        return Err(refused());
    }
    let hop = match types.as_slice() {
        [only] => wanted(*only, tail).map(|wanted| Hop { kind: *only, wanted, link: link.name, reverse: false }),
        _ => None,
    };
    found(types, hop)
}

fn param(kind: ResourceType, pair: &Pair) -> Result<Param, InvalidRequest> {
    let (name, modifier) =
        pair.key.split_once(':').map_or((pair.key.as_str(), None), |(name, modifier)| (name, Some(modifier)));
    let known = params::find(kind, name).ok_or_else(|| unknown(&pair.key))?;
    let modifier = modifier.map(|text| parse_modifier(known, text).ok_or_else(|| unknown(&pair.key))).transpose()?;
    let values = value::split_list(&pair.key, &pair.value)?;
    let fits = match modifier {
        Some(Modifier::Missing) => matches!(values.as_slice(), [only] if only == "true" || only == "false"),
        _ => values.iter().all(|value| value::fits(known, value)),
    };
    if fits {
        Ok(Param { name: known.name, kind: known.kind, modifier, values })
    } else {
        Err(InvalidRequest::malformed(format!("the value of {} does not fit its kind", quote(&pair.key))))
    }
}

/// The modifiers that are offered for `param`. On `_id` none (SR-44); `:missing` not where a patient may stand (SR-11);
/// `:identifier` nowhere, since it asks about another resource (SR-12).
fn parse_modifier(param: &SearchParam, text: &str) -> Option<Modifier> {
    let control = matches!(param.name, "_id" | "_lastUpdated");
    match (param.kind, text) {
        (ParamKind::String, "exact") => Some(Modifier::Exact),
        (ParamKind::String, "contains") => Some(Modifier::Contains),
        (ParamKind::Token, "not") if !control => Some(Modifier::Not),
        (ParamKind::Composite | ParamKind::Special, _) => None,
        (_, "missing") if !control && !param.patient => Some(Modifier::Missing),
        (ParamKind::Reference, target) => {
            target.parse().ok().filter(|target| param.targets.contains(target)).map(Modifier::Type)
        }
        _ => None,
    }
}
