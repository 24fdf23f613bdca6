//! SMART clinical scopes: SMART App Launch 2.2, "Scopes for requesting FHIR Resources".
//!
//! A clause is kept whole: letters and query belong together and never accumulate across clauses (SC-12).

use std::fmt;
use std::str::FromStr;

use fhir::ResourceType;

/// Longest scope string read from outside: 500 clauses of about 100 characters fit no honest request (SC-14).
pub const SCOPE_TEXT_MAX: usize = 16 * 1024;
/// Most clauses in one scope string.
pub const SCOPE_CLAUSES_MAX: usize = 256;

/// `patient/`, `user/` or `system/`: three risk classes, never convertible into each other (S1-06).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// The one patient of the session.
    Patient,
    /// What a signed-in person may see.
    User,
    /// What a back-end system may see.
    System,
}

/// One type, or `*`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ResourceMatch {
    /// `*`: every type, now and in future.
    Every,
    /// Exactly this type.
    One(ResourceType),
}

/// A set of the SMART v2 letters `cruds`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Actions(u8);

impl Actions {
    /// No letter: grants nothing.
    pub const NONE: Self = Self(0);
    /// `c`: create.
    pub const CREATE: Self = Self(1);
    /// `r`: read, vread, instance history.
    pub const READ: Self = Self(2);
    /// `u`: update and patch.
    pub const UPDATE: Self = Self(4);
    /// `d`: delete.
    pub const DELETE: Self = Self(8);
    /// `s`: search.
    pub const SEARCH: Self = Self(16);
    /// v1 `.read` = `rs`.
    pub const V1_READ: Self = Self(2 | 16);
    /// v1 `.write` = `cud`.
    pub const V1_WRITE: Self = Self(1 | 4 | 8);
    /// v1 `.*` = `cruds`.
    pub const ALL: Self = Self(31);

    const LETTERS: [(char, Self); 5] =
        [('c', Self::CREATE), ('r', Self::READ), ('u', Self::UPDATE), ('d', Self::DELETE), ('s', Self::SEARCH)];

    /// Letters in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Letters in either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every letter of `other` is here.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is no letter at all.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// v2 letters in the order `cruds`, each at most once, at least one; anything else is no set (SC-04).
    fn parse_v2(text: &str) -> Option<Self> {
        let mut set = Self::NONE;
        let mut letters = Self::LETTERS.iter();
        for wanted in text.chars() {
            let (_, action) = letters.find(|(letter, _)| *letter == wanted)?;
            set = set.or(*action);
        }
        if set.is_empty() { None } else { Some(set) }
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::LETTERS
            .iter()
            .filter(|(_, action)| self.contains(*action))
            .try_for_each(|(letter, _)| fmt::Write::write_char(f, *letter))
    }
}

/// How the letters were spelled; a clause granted as asked is answered in the asker's spelling (D-09).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Spelling {
    /// `.read`, `.write`, `.*`.
    V1,
    /// `.cruds` and subsets.
    V2,
}

/// The `?param=value&…` part: every pair must hold (AND). Values are decoded once; printing encodes again.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Filter {
    /// `(parameter, value)` pairs, in the order written, never empty.
    pub pairs: Vec<(String, String)>,
}

/// One clause of a scope string. Keeps all of its text: a dropped restriction would widen it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Scope {
    /// Whose data.
    pub level: Level,
    /// Which type.
    pub resource: ResourceMatch,
    /// Which interactions.
    pub actions: Actions,
    /// Which slice of them; `None` is the whole type.
    pub filter: Option<Filter>,
    /// How the actions were written.
    pub spelling: Spelling,
}

/// Why a clause is no scope.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidScope {
    /// No `patient/`, `user/` or `system/` in front.
    #[error("a scope starts with patient/, user/ or system/")]
    Level,
    /// The type is no R4 resource type.
    #[error("the part before the dot must be an R4 resource type or *")]
    Resource,
    /// Letters missing, repeated, unknown or out of the order `cruds`.
    #[error("the part after the dot must be letters of `cruds` in that order, or read, write or *")]
    Actions,
    /// The `?` part is empty or malformed, or uses a modifier or a chain.
    #[error("the part after ? must be plain param=value pairs joined by &, without modifier or chain")]
    Filter,
    /// Over [`SCOPE_TEXT_MAX`] or [`SCOPE_CLAUSES_MAX`].
    #[error("the scope string is too long")]
    Size,
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        if text.len() > SCOPE_TEXT_MAX {
            return Err(InvalidScope::Size);
        }
        let (level, rest) = text.split_once('/').ok_or(InvalidScope::Level)?;
        let level = match level {
            "patient" => Level::Patient,
            "user" => Level::User,
            "system" => Level::System,
            _ => return Err(InvalidScope::Level),
        };
        let (resource, rest) = rest.split_once('.').ok_or(InvalidScope::Resource)?;
        let resource = match resource {
            "*" => ResourceMatch::Every,
            name => ResourceMatch::One(name.parse().map_err(|_| InvalidScope::Resource)?),
        };
        let (letters, filter) = match rest.split_once('?') {
            Some((letters, filter)) => (letters, Some(filter.parse()?)),
            None => (rest, None),
        };
        let (actions, spelling) = match letters {
            "read" => (Actions::V1_READ, Spelling::V1),
            "write" => (Actions::V1_WRITE, Spelling::V1),
            "*" => (Actions::ALL, Spelling::V1),
            letters => (Actions::parse_v2(letters).ok_or(InvalidScope::Actions)?, Spelling::V2),
        };
        // SMART defines a query for v2 letters alone; on a v1 word it is malformed.
        if spelling == Spelling::V1 && filter.is_some() {
            return Err(InvalidScope::Filter);
        }
        Ok(Self { level, resource, actions, filter, spelling })
    }
}

impl FromStr for Filter {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let mut pairs = Vec::new();
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').ok_or(InvalidScope::Filter)?;
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
            if name.is_empty() || !name.bytes().all(plain) {
                return Err(InvalidScope::Filter);
            }
            let value = percent_decode(value).ok_or(InvalidScope::Filter)?;
            if value.is_empty() {
                return Err(InvalidScope::Filter);
            }
            pairs.push((name.to_owned(), value));
        }
        Ok(Self { pairs })
    }
}

impl Scope {
    /// Whether this clause covers `resource` with every letter of `actions` (the query is judged elsewhere).
    #[must_use]
    pub fn covers(&self, resource: ResourceType, actions: Actions) -> bool {
        let type_fits = match self.resource {
            ResourceMatch::Every => true,
            ResourceMatch::One(kind) => kind == resource,
        };
        type_fits && self.actions.contains(actions)
    }

    /// What both clauses allow; `None` when that is nothing. Never wider than either (S1-22).
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        if self.level != other.level {
            return None;
        }
        let resource = match (self.resource, other.resource) {
            (ResourceMatch::Every, kind) | (kind, ResourceMatch::Every) => kind,
            (ResourceMatch::One(a), ResourceMatch::One(b)) if a == b => ResourceMatch::One(a),
            _ => return None,
        };
        let actions = self.actions.and(other.actions);
        if actions.is_empty() {
            return None;
        }
        let filter = match (&self.filter, &other.filter) {
            (None, filter) | (filter, None) => filter.clone(),
            (Some(a), Some(b)) => {
                let mut pairs = a.pairs.clone();
                for pair in &b.pairs {
                    if !pairs.contains(pair) {
                        pairs.push(pair.clone());
                    }
                }
                Some(Filter { pairs })
            }
        };
        // v1 words cannot carry a query or a partial letter set.
        let v1_word = [Actions::V1_READ, Actions::V1_WRITE, Actions::ALL].contains(&actions);
        let spelling =
            if self.spelling == Spelling::V1 && v1_word && filter.is_none() { Spelling::V1 } else { Spelling::V2 };
        Some(Self { level: self.level, resource, actions, filter, spelling })
    }
}

impl Scope {
    /// Whether everything this clause grants is granted by `wide` too. A label that a clause names is a permit of its own, which a wider
    /// clause without it does not give.
    #[must_use]
    pub fn is_within(&self, wide: &Self) -> bool {
        let holds = |pair| self.filter.as_ref().is_some_and(|filter| filter.pairs.contains(pair));
        let named = |pair| wide.filter.as_ref().is_some_and(|filter| filter.pairs.contains(pair));
        let mut labels = self.filter.iter().flat_map(|filter| &filter.pairs).filter(|(name, _)| name == "_security");
        labels.all(named)
            && self.level == wide.level
            && (wide.resource == ResourceMatch::Every || wide.resource == self.resource)
            && wide.actions.contains(self.actions)
            && wide.filter.iter().flat_map(|filter| &filter.pairs).all(holds)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Patient => "patient",
            Level::User => "user",
            Level::System => "system",
        };
        match self.resource {
            ResourceMatch::Every => [level, "/*."].into_iter().try_for_each(|text| f.write_str(text))?,
            ResourceMatch::One(kind) => {
                [level, "/", kind.name(), "."].into_iter().try_for_each(|text| f.write_str(text))?
            }
        }
        match (self.spelling, self.actions) {
            (Spelling::V1, Actions::V1_READ) => f.write_str("read")?,
            (Spelling::V1, Actions::V1_WRITE) => f.write_str("write")?,
            (Spelling::V1, Actions::ALL) => f.write_str("*")?,
            (_, actions) => actions.fmt(f)?,
        }
        let mut mark = '?';
        for (name, value) in self.filter.iter().flat_map(|filter| &filter.pairs) {
            write!(f, "{mark}{name}=")?;
            percent_encode(value, f)?;
            mark = '&';
        }
        Ok(())
    }
}

/// FHIR scopes held together: their union, each clause with its own letters and query.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct ScopeSet(pub Vec<Scope>);

impl ScopeSet {
    /// Clauses that cover `resource` with `actions` at `level`.
    pub fn covering(&self, level: Level, resource: ResourceType, actions: Actions) -> impl Iterator<Item = &Scope> {
        self.0.iter().filter(move |scope| scope.level == level && scope.covers(resource, actions))
    }

    /// Whether it grants nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Request ∩ ceiling, clause by clause; what only one of them allows is gone (S1-22, S1-34).
    #[must_use]
    pub fn narrow(&self, ceiling: &Self) -> Self {
        let mut out = Vec::new();
        for asked in &self.0 {
            for allowed in &ceiling.0 {
                if let Some(scope) = asked.intersect(allowed)
                    && !out.contains(&scope)
                {
                    out.push(scope);
                }
            }
        }
        Self(out)
    }
}

impl FromStr for ScopeSet {
    type Err = InvalidScope;

    /// Every clause must parse: used for what people write (profiles, manifests), not for tokens asked by clients.
    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        if text.len() > SCOPE_TEXT_MAX || text.split(' ').count() > SCOPE_CLAUSES_MAX {
            return Err(InvalidScope::Size);
        }
        text.split(' ').filter(|clause| !clause.is_empty()).map(str::parse).collect::<Result<Vec<_>, _>>().map(Self)
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            scope.fmt(f)?;
        }
        Ok(())
    }
}

impl serde::Serialize for ScopeSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for ScopeSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|why| serde::de::Error::custom(format!("`{text}`: {why}")))
    }
}

/// A scope that is a word: context, identity or refresh.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ScopeWord {
    /// `launch`: the context of the EHR's launch.
    Launch,
    /// `launch/patient`: a patient in context.
    LaunchPatient,
    /// `launch/encounter`: an encounter in context.
    LaunchEncounter,
    /// `openid`: an ID token.
    OpenId,
    /// `fhirUser`: the person's FHIR resource in it.
    FhirUser,
    /// `profile`: the same, as older apps ask for it.
    Profile,
    /// `online_access`: a refresh token for as long as the person is signed in.
    OnlineAccess,
    /// `offline_access`: a refresh token that outlives the sign-in.
    OfflineAccess,
}

impl ScopeWord {
    /// All of them, in the order in which a granted scope names them.
    pub const ALL: [Self; 8] = [
        Self::Launch,
        Self::LaunchPatient,
        Self::LaunchEncounter,
        Self::OpenId,
        Self::FhirUser,
        Self::Profile,
        Self::OnlineAccess,
        Self::OfflineAccess,
    ];

    /// As in a scope string.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::LaunchPatient => "launch/patient",
            Self::LaunchEncounter => "launch/encounter",
            Self::OpenId => "openid",
            Self::FhirUser => "fhirUser",
            Self::Profile => "profile",
            Self::OnlineAccess => "online_access",
            Self::OfflineAccess => "offline_access",
        }
    }

    /// Reads one; words are case-sensitive.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|word| word.as_str() == text)
    }
}

/// One item of a `scope` request parameter: a FHIR clause, one of the words SMART defines, or neither.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RequestedScope {
    /// A FHIR clause.
    Fhir(Scope),
    /// One of the words that SMART and OpenID Connect define.
    Word(ScopeWord),
    /// Anything else, kept as written; it grants nothing.
    Unknown(String),
}

impl RequestedScope {
    /// Reads one item; what is not understood is `Unknown` and never partly understood (SC-04).
    #[must_use]
    pub fn read(text: &str) -> Self {
        match ScopeWord::read(text) {
            Some(word) => Self::Word(word),
            None => text.parse().map_or_else(|_| Self::Unknown(text.to_owned()), Self::Fhir),
        }
    }

    /// Reads a whole `scope` parameter (RFC 6749 §3.3: space separated).
    ///
    /// # Errors
    /// [`InvalidScope::Size`] when it is longer than any honest request.
    pub fn read_all(text: &str) -> Result<Vec<Self>, InvalidScope> {
        if text.len() > SCOPE_TEXT_MAX || text.split(' ').count() > SCOPE_CLAUSES_MAX {
            return Err(InvalidScope::Size);
        }
        Ok(text.split(' ').filter(|item| !item.is_empty()).map(Self::read).collect())
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                out.push(u8::try_from(high * 16 + low).ok()?);
            }
            // `+` is a space in forms but a plus in a scope; the two readings differ, so it must be written %2B.
            b'+' | b' ' | b'"' | b'\\' | b'#' => return None,
            byte => out.push(byte),
        }
    }
    let text = String::from_utf8(out).ok()?;
    if text.chars().any(char::is_control) { None } else { Some(text) }
}

fn percent_encode(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' | b'|' | b',' | b'$' => {
                write!(f, "{}", char::from(byte))?;
            }
            byte => write!(f, "%{byte:02X}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
