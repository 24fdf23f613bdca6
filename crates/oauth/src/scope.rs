//! Which scope is granted: request ∩ task profile under the rules of the class (DESIGN, "Tokens"; S1-22, S1-34).

use domain::scope::InvalidScope;
use domain::{Class, ClassRefusal, Presence, RequestedScope, Scope, ScopeSet, ScopeWord};

/// What is granted, in the asker's spelling where it was granted as asked (D-09).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Granted {
    /// The clauses.
    pub scopes: ScopeSet,
    /// What the token, the answer and introspection say: one text in all three.
    pub text: String,
}

impl Granted {
    /// Clauses and words as one scope string, the words last.
    #[must_use]
    pub fn with_words(scopes: ScopeSet, words: &[ScopeWord]) -> Self {
        let mut text = scopes.to_string();
        for word in ScopeWord::ALL.into_iter().filter(|word| words.contains(word)) {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word.as_str());
        }
        Self { scopes, text }
    }
}

/// What a refresh may have of a granted scope (RFC 6749 §6): each clause within one that was granted, each word among those that were.
///
/// # Errors
/// [`ScopeRefusal::Wider`] naming what was not granted.
pub fn within(granted: &str, asked: &str) -> Result<Granted, ScopeRefusal> {
    let have = RequestedScope::read_all(granted)?;
    let mut scopes = Vec::new();
    let mut words = Vec::new();
    for item in RequestedScope::read_all(asked)? {
        match item {
            RequestedScope::Fhir(scope) => {
                let fits = have.iter().any(|had| matches!(had, RequestedScope::Fhir(had) if scope.is_within(had)));
                if !fits {
                    return Err(ScopeRefusal::Wider { scope: scope.to_string() });
                }
                scopes.push(scope);
            }
            RequestedScope::Word(word) if have.contains(&item) => words.push(word),
            RequestedScope::Word(word) => return Err(ScopeRefusal::Wider { scope: word.as_str().to_owned() }),
            RequestedScope::Unknown(scope) => return Err(ScopeRefusal::Wider { scope }),
        }
    }
    Ok(Granted::with_words(ScopeSet(scopes), &words))
}

/// The words that were asked.
#[must_use]
pub fn words(asked: &[RequestedScope]) -> Vec<ScopeWord> {
    let word = |item: &RequestedScope| match item {
        RequestedScope::Word(word) => Some(*word),
        _ => None,
    };
    asked.iter().filter_map(word).collect()
}

/// Why nothing is granted: `invalid_scope`, with a description that says what to ask for.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ScopeRefusal {
    /// The class may never hold it; the whole request is refused.
    #[error(transparent)]
    Class(#[from] ClassRefusal),
    /// A `system/` or `user/` clause that does not even parse; refused like one that does.
    #[error("`{scope}`: a {class} integration holds patient/ scopes only")]
    Level {
        /// The offending clause as written.
        scope: String,
        /// The class.
        class: &'static str,
    },
    /// More than was granted.
    #[error("`{scope}` was not granted; a refresh asks for the same scope or less")]
    Wider {
        /// The offending clause or word.
        scope: String,
    },
    /// Neither a scope nor a task was named.
    #[error("name the scope, or a task by `launch` or `authorization_details`")]
    Missing,
    /// The intersection with the profile is empty.
    #[error("nothing of the requested scope is in the task profile; it allows `{profile}`")]
    Empty {
        /// The profile's scope.
        profile: ScopeSet,
    },
    /// Longer than any honest request.
    #[error(transparent)]
    Size(#[from] InvalidScope),
}

/// Checks what was asked against the class alone; done before any patient or ticket is looked at.
///
/// # Errors
/// The clause that makes the whole request `invalid_scope`, or its size.
pub fn check_class(class: Class, asked: Option<&str>, person: Presence) -> Result<Vec<RequestedScope>, ScopeRefusal> {
    let items = RequestedScope::read_all(asked.unwrap_or_default())?;
    for item in &items {
        class.check_request(item, person)?;
        if let RequestedScope::Unknown(text) = item
            && class == Class::ClinicalAi
            && (text.starts_with("system/") || text.starts_with("user/"))
        {
            return Err(ScopeRefusal::Level { scope: text.clone(), class: class.as_str() });
        }
    }
    Ok(items)
}

/// Decides the granted scope. `asked` is the checked request; empty asks for the whole profile of the task.
/// `enforceable` says whether the gate can hold a clause's query (SC-18): one it cannot is dropped, never widened.
///
/// # Errors
/// [`ScopeRefusal::Empty`] when nothing is left.
pub fn grant(
    class: Class,
    profile: &ScopeSet,
    asked: &[RequestedScope],
    enforceable: &dyn Fn(&Scope) -> bool,
) -> Result<Granted, ScopeRefusal> {
    // The class rules hold even if a profile row says otherwise (S1-11: policy, not data).
    let ceiling = ScopeSet(profile.0.iter().filter(|scope| class.check_scope(scope).is_ok()).cloned().collect());
    let narrowed = if asked.is_empty() {
        ceiling
    } else {
        let fhir = asked.iter().filter_map(|item| match item {
            RequestedScope::Fhir(scope) => Some(scope.clone()),
            _ => None,
        });
        ScopeSet(fhir.collect()).narrow(&ceiling)
    };
    let scopes = ScopeSet(narrowed.0.into_iter().filter(|scope| enforceable(scope)).collect());
    if scopes.is_empty() {
        return Err(ScopeRefusal::Empty { profile: profile.clone() });
    }
    Ok(Granted { text: scopes.to_string(), scopes })
}
