//! The `?query` of a scope clause, evaluated on a resource at hand (FHIR R4 search, "token").
//!
//! Only plain token parameters can be evaluated without a terminology server; a clause that needs more grants nothing
//! (SC-13, SC-15). Comparison is exact: a value that is not there is no match.

use domain::Filter;
use fhir::ResourceType;
use fhir::json::Value;
use fhir::params::{ParamKind, SearchParam};

/// One alternative of a token value.
#[derive(Debug, Eq, PartialEq)]
struct Token {
    /// `None`: any system; `Some("")`: explicitly none (`|code`).
    system: Option<String>,
    /// `None`: any code of the system (`system|`).
    code: Option<String>,
}

/// The parameter of one criterion, if resources of `kind` can be matched against it here.
pub(crate) fn param(kind: ResourceType, name: &str) -> Option<&'static SearchParam> {
    fhir::params::find(kind, name).filter(|param| param.kind == ParamKind::Token && !param.paths.is_empty())
}

/// Whether every criterion of `filter` can be evaluated on resources of `kind`; otherwise its clause grants nothing.
pub(crate) fn evaluable(kind: ResourceType, filter: &Filter) -> bool {
    !filter.pairs.is_empty()
        && filter.pairs.iter().all(|(name, value)| param(kind, name).is_some() && tokens(value).is_some())
}

/// Whether `resource`, of type `kind`, meets every criterion of `filter`.
pub(crate) fn holds(kind: ResourceType, filter: &Filter, resource: Value<'_>) -> bool {
    !filter.pairs.is_empty()
        && filter.pairs.iter().all(|(name, value)| {
            let (Some(param), Some(wanted)) = (param(kind, name), tokens(value)) else { return false };
            let mut met = false;
            for path in param.paths {
                resource.at_path(path.elements, &mut |found| met |= wanted.iter().any(|token| matches(token, found)));
            }
            met
        })
}

/// Splits at unescaped commas and takes the escapes of FHIR search away; the values as a search sends them.
pub(crate) fn alternatives(value: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            ',' => out.push(String::new()),
            c => {
                let Some(last) = out.last_mut() else { continue };
                last.push(c);
                if c == '\\' {
                    last.extend(chars.next());
                }
            }
        }
    }
    out
}

/// `\,` `\|` `\$` `\\` to what they stand for; `None` for any other escape.
pub(crate) fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next()? {
                c @ (',' | '|' | '$' | '\\') => out.push(c),
                _ => return None,
            },
            c => out.push(c),
        }
    }
    Some(out)
}

fn tokens(value: &str) -> Option<Vec<Token>> {
    alternatives(value).iter().map(|alternative| token(alternative)).collect()
}

fn token(text: &str) -> Option<Token> {
    let mut escaped = false;
    let mut bar = None;
    for (at, c) in text.char_indices() {
        match c {
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            '|' if !escaped => {
                if bar.is_some() {
                    return None;
                }
                bar = Some(at);
            }
            _ => {}
        }
        escaped = false;
    }
    let (system, code) = match bar {
        Some(at) => (Some(unescape(text.get(..at)?)?), unescape(text.get(at + 1..)?)?),
        None => (None, unescape(text)?),
    };
    let code = if code.is_empty() { None } else { Some(code) };
    // `|` and the empty text name nothing.
    if code.is_none() && system.as_deref().is_none_or(str::is_empty) {
        return None;
    }
    Some(Token { system, code })
}

fn matches(token: &Token, found: Value<'_>) -> bool {
    if found.is_object() {
        if let Some(codings) = found.get("coding") {
            let mut met = false;
            codings.each(&mut |coding| met |= pair(token, coding, "code"));
            return met;
        }
        // A Coding has `code`; an Identifier has `value`.
        return pair(token, found, "code") || pair(token, found, "value");
    }
    // A primitive (code, boolean, id, string) has no system of its own, so one that is asked for is no match.
    let text = match found.as_bool() {
        Some(true) => Some("true".into()),
        Some(false) => Some("false".into()),
        None => found.as_str(),
    };
    token.system.is_none() && text.is_some_and(|text| token.code.as_deref() == Some(&*text))
}

fn pair(token: &Token, found: Value<'_>, code: &str) -> bool {
    let Some(code) = found.get(code) else { return false };
    let Some(code) = code.as_str() else { return false };
    let system = found.get("system");
    let system_fits = match token.system.as_deref() {
        None => true,
        Some("") => system.is_none(),
        Some(wanted) => system.is_some_and(|system| system.is_str(wanted)),
    };
    system_fits && token.code.as_deref().is_none_or(|wanted| wanted == code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhir::json::Document;

    #[test]
    fn sc_15_criteria_are_tokens_matched_exactly() {
        let text = br#"{"resourceType":"Observation","status":"final","category":[{"coding":[
            {"system":"http://s","code":"vital-signs"},{"code":"bare"}]}],"identifier":[{"system":"http://i","value":"7"}],
            "meta":{"tag":[{"system":"t","code":"x,y"}]}}"#;
        let document = Document::parse(text).unwrap();
        for (filter, expected) in [
            ("category=http://s|vital-signs", true),
            ("category=vital-signs", true),
            ("category=http://s|", true),
            ("category=http://other|vital-signs", false),
            ("category=|bare", true),
            ("category=|vital-signs", false),
            ("category=Vital-Signs", false),
            ("category=laboratory,vital-signs", true),
            ("category=laboratory", false),
            ("status=final", true),
            ("status=http://hl7.org/fhir/observation-status|final", false),
            ("category=vital-signs&status=final", true),
            ("category=vital-signs&status=amended", false),
            ("identifier=http://i|7", true),
            ("identifier=http://i|8", false),
            ("_tag=x%5C,y", true),
            ("_tag=x,y", false),
            // No such element, no such parameter, not a token, no local evaluation.
            ("code=1", false),
            ("nonsense=1", false),
            ("date=2020", false),
            ("subject=P1", false),
            ("code-value-concept=1$2", false),
            ("category=a|b|c", false),
            ("category=|", false),
        ] {
            let filter: Filter = filter.parse().unwrap();
            let holds = holds(ResourceType::OBSERVATION, &filter, document.root());
            assert_eq!(holds, expected, "{filter:?}");
        }
    }
}
