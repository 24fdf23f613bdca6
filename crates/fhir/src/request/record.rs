//! Parameters of the interactions on one record: history, `$everything`, `$lastn`, Binary.

use super::decode::Pair;
use super::query::{self, Offers};
use super::{Asked, Everything, History, Interaction, InvalidRequest, Search, media, value};
use crate::{Id, ResourceType};

/// Most observations per code that `$lastn` gives; the standard has no limit.
const LAST_MAX: u32 = 100;

/// `_count`, `_since` and the view; anything else is refused (VR-12, VR-13).
pub(super) fn history(kind: ResourceType, id: Id, pairs: &[Pair]) -> Result<History, InvalidRequest> {
    let (rest, view) = query::split_view(pairs, Offers::FormatAndProjection)?;
    let mut out = History { kind, id, count: None, since: None, view };
    for pair in rest {
        match pair.key.as_str() {
            "_count" => query::once(&mut out.count, pair, query::count(&pair.value)?)?,
            "_since" => query::once(&mut out.since, pair, instant(pair)?)?,
            _ => return Err(query::unknown(&pair.key)),
        }
    }
    Ok(out)
}

/// The parameters R4 gives the operation (OP-09).
pub(super) fn everything(id: Id, pairs: &[Pair]) -> Result<Everything, InvalidRequest> {
    let (rest, view) = query::split_view(pairs, Offers::FormatAndProjection)?;
    let mut kinds = None;
    let mut out = Everything { id, start: None, end: None, since: None, kinds: Vec::new(), count: None, view };
    for pair in rest {
        match pair.key.as_str() {
            "start" => query::once(&mut out.start, pair, date(pair)?)?,
            "end" => query::once(&mut out.end, pair, date(pair)?)?,
            "_since" => query::once(&mut out.since, pair, instant(pair)?)?,
            "_count" => query::once(&mut out.count, pair, query::count(&pair.value)?)?,
            "_type" => query::once(&mut kinds, pair, types(&pair.value)?)?,
            _ => return Err(query::unknown(&pair.key)),
        }
    }
    out.kinds = kinds.unwrap_or_default();
    Ok(out)
}

/// A search of observations with `max`, the number wanted of each code.
pub(super) fn last_n(kind: ResourceType, pairs: &[Pair]) -> Result<Search, InvalidRequest> {
    let mut max = None;
    let mut rest = Vec::with_capacity(pairs.len());
    for pair in pairs {
        match pair.key.as_str() {
            "max" => {
                let wanted = query::count(&pair.value)?;
                if !(1..=LAST_MAX).contains(&wanted) {
                    return Err(InvalidRequest::malformed(format!("`max` is a number from 1 to {LAST_MAX}")));
                }
                query::once(&mut max, pair, wanted)?;
            }
            // Its order and its pages are the operation's own; includes are none of its parameters.
            "_sort" | "_count" | "_include" | "_revinclude" | "_total" => return Err(query::unknown(&pair.key)),
            _ => rest.push(pair.clone()),
        }
    }
    let search = query::search(kind, &rest, Asked::LastN(max.unwrap_or(1)))?;
    if search.includes.is_empty() && search.revincludes.is_empty() {
        Ok(search)
    } else {
        Err(InvalidRequest::not_supported("`$lastn` takes no includes"))
    }
}

/// The resource when FHIR JSON is asked for, its content otherwise (R4 Binary, "Serving Binary Resources").
pub(super) fn binary(id: Id, accept: Option<&str>, pairs: &[Pair]) -> Result<Interaction, InvalidRequest> {
    let mut proof = None;
    let mut rest = Vec::with_capacity(pairs.len());
    for pair in pairs {
        if pair.key == "_hilum" {
            query::once(&mut proof, pair, query::sealed(&pair.value)?)?;
        } else {
            rest.push(pair.clone());
        }
    }
    let format = rest.iter().any(|pair| pair.key == "_format");
    let view = query::view(&rest, Offers::Format)?;
    let raw = !format && !media::wants_fhir(accept)?;
    Ok(Interaction::Binary { id, proof, raw, view })
}

/// A list of types, sorted.
pub(super) fn types(text: &str) -> Result<Vec<ResourceType>, InvalidRequest> {
    let kinds: Result<Vec<ResourceType>, _> = text.split(',').map(str::parse).collect();
    let mut kinds = kinds.map_err(|_| InvalidRequest::malformed("`_type` is a list of resource types"))?;
    kinds.sort_unstable();
    kinds.dedup();
    Ok(kinds)
}

fn date(pair: &Pair) -> Result<String, InvalidRequest> {
    if value::is_date(&pair.value) && !pair.value.contains('T') {
        Ok(pair.value.clone())
    } else {
        Err(InvalidRequest::malformed("`start` and `end` are dates"))
    }
}

/// In a query an unencoded `+` is a space, and clients write time zones so.
fn instant(pair: &Pair) -> Result<String, InvalidRequest> {
    let text = pair.value.replace(' ', "+");
    if value::is_date(&text) { Ok(text) } else { Err(InvalidRequest::malformed("`_since` is an instant")) }
}
