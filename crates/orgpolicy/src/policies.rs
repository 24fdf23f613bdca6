//! Policy text, parsed and validated: strict, bounded, every policy with an id of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::{Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};

use crate::problem::Problem;
use crate::reads::{OPTIONAL, Reads, Stability};

/// The schema: what policies may speak of.
pub const SCHEMA_TEXT: &str = include_str!("../policies/hilum.cedarschema");
/// The policies of a tenant that has none of its own.
pub const DEFAULT_TEXT: &str = include_str!("../policies/default.cedar");

/// Longest text: some hundred policies with comments.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Most policies of one tenant: each costs half a microsecond where it does not apply (spec/governance.md c.4).
pub const POLICIES_MAX: usize = 256;
/// Longest id.
const ID_BYTES_MAX: usize = 64;
/// Deepest nesting of brackets: no person writes more, and the parser recurses.
const DEPTH_MAX: usize = 32;
/// Longest single policy.
const POLICY_BYTES_MAX: usize = 8 * 1024;
/// Most operators, accesses and keywords of one policy. Cedar's trees are as deep as a chain of `||` is long, and where its
/// validator runs out of stack it stops checking without a word, so no tree may come near that.
const OPERATORS_MAX: usize = 128;

/// Permit or forbid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "the words of Cedar")]
pub enum Effect {
    Permit,
    Forbid,
}

impl Effect {
    /// As written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Forbid => "forbid",
        }
    }
}

/// What is known of one policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyInfo {
    /// Its `@id`.
    pub id: String,
    /// Permit or forbid.
    pub effect: Effect,
    /// How long what it says holds.
    pub stability: Stability,
    /// What of `context` it reads, as dotted paths.
    pub reads: Vec<String>,
}

/// One policy, and what stands in for it while something it reads is unknown.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) info: PolicyInfo,
    pub(crate) policy: Policy,
    /// Of a `forbid` that reads what may be unknown: itself without the conditions that do.
    pub(crate) unknowing: Option<Policy>,
    /// Which of [`OPTIONAL`] it reads.
    pub(crate) optional: [bool; OPTIONAL.len()],
}

/// The valid policies of one tenant.
// INVARIANT: validated against the schema in strict mode; ids are unique; within the bounds above.
#[derive(Clone, Debug)]
pub struct Policies {
    pub(crate) held: Arc<[Held]>,
    pub(crate) schema: Arc<Schema>,
    epoch: u64,
}

impl Policies {
    /// Parses and validates; `epoch` tells decisions by this text from decisions by any other the tenant ever had.
    ///
    /// # Errors
    /// Every mistake that was found.
    pub fn parse(text: &str, epoch: u64) -> Result<Self, Vec<Problem>> {
        let one = |problem: Problem| vec![problem];
        bounded(text).map_err(one)?;
        let parsed: PolicySet = text.parse().map_err(|why: cedar_policy::ParseErrors| {
            why.iter().map(|why| Problem::found(None, text, why)).collect::<Vec<_>>()
        })?;
        if parsed.templates().next().is_some() {
            return Err(one(Problem::new("templates (`?principal`, `?resource`) are not used here: write a policy")));
        }
        let named = named(&parsed, text)?;
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA_TEXT)
            .map_err(|why| one(Problem::new(format!("the schema itself does not parse: {why}"))))?;
        let mut problems = validate(&schema, &named, text);
        let mut held = Vec::new();
        for policy in named {
            match hold(policy, text) {
                Ok(policy) => held.push(policy),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            problems.sort_by(|a, b| (a.place, &a.what).cmp(&(b.place, &b.what)));
            problems.dedup();
            return Err(problems);
        }
        held.sort_by(|a, b| a.info.id.cmp(&b.info.id));
        Ok(Self { held: held.into(), schema: Arc::new(schema), epoch })
    }

    /// Those that are shipped.
    ///
    /// # Errors
    /// As [`Policies::parse`]; the shipped text is tested to have no mistake.
    pub fn shipped(epoch: u64) -> Result<Self, Vec<Problem>> {
        Self::parse(DEFAULT_TEXT, epoch)
    }

    /// What each of them is, by id.
    pub fn infos(&self) -> impl ExactSizeIterator<Item = &PolicyInfo> {
        self.held.iter().map(|held| &held.info)
    }

    /// See [`Policies::parse`].
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// Of a chain that makes a tree deeper.
const OPERATORS: &[u8] = b"&|+-*.<>=!";
const KEYWORDS: [&str; 5] = ["if", "has", "like", "in", "is"];

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn bounded(text: &str) -> Result<(), Problem> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Problem::new(format!("the text is longer than {TEXT_BYTES_MAX} bytes")));
    }
    let (mut depth, mut start, mut operators, mut word) = (0usize, 0usize, 0usize, 0usize);
    let (mut quoted, mut escaped, mut comment, mut before) = (false, false, false, 0u8);
    for (at, byte) in text.bytes().enumerate() {
        let ends = text.get(word..at).filter(|_| !is_word(byte));
        if !quoted && !comment {
            let operator = OPERATORS.contains(&byte) && !OPERATORS.contains(&before);
            operators += usize::from(operator || ends.is_some_and(|word| KEYWORDS.contains(&word)));
        }
        if !is_word(byte) {
            word = at + 1;
        }
        match byte {
            // As Cedar's own lexer has it.
            b'\n' | b'\r' => comment = false,
            _ if comment => {}
            b'"' if !escaped => quoted = !quoted,
            _ if quoted => {}
            b'/' if before == b'/' => comment = true,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b';' if depth == 0 => (start, operators) = (at, 0),
            _ => {}
        }
        escaped = quoted && byte == b'\\' && !escaped;
        before = byte;
        if depth > DEPTH_MAX {
            return Err(Problem::new(format!("brackets are nested deeper than {DEPTH_MAX}")));
        }
        if at - start > POLICY_BYTES_MAX {
            return Err(Problem::new(format!("a policy is longer than {POLICY_BYTES_MAX} bytes: write several")));
        }
        if operators > OPERATORS_MAX {
            let says = format!("a policy has more than {OPERATORS_MAX} operators: write several, or `[…].contains(…)`");
            return Err(Problem::new(says));
        }
    }
    Ok(())
}

/// The policies under the ids they carry.
fn named(parsed: &PolicySet, text: &str) -> Result<Vec<Policy>, Vec<Problem>> {
    let count = parsed.policies().count();
    if count > POLICIES_MAX {
        return Err(vec![Problem::new(format!("{count} policies; one tenant has at most {POLICIES_MAX}"))]);
    }
    let (mut out, mut seen, mut problems) = (Vec::new(), BTreeSet::new(), Vec::new());
    for policy in parsed.policies() {
        let Some(id) = policy.annotation("id") else {
            let first = policy.to_string().lines().next().unwrap_or_default().to_owned();
            let place = text.find(&first).map(|at| Problem::at(text, at));
            let what = "a policy has no id: write `@id(\"…\")` in front of it; records name policies by it".to_owned();
            problems.push(Problem { place, policy: None, what });
            continue;
        };
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=ID_BYTES_MAX).contains(&id.len()) || !id.bytes().all(fits) {
            problems.push(Problem::of(id, text, format!("the id `{id}` must be 1 to {ID_BYTES_MAX} of a-z, 0-9, `-`")));
        } else if !seen.insert(id.to_owned()) {
            problems.push(Problem::of(id, text, format!("the id `{id}` is there twice")));
        } else {
            out.push(policy.new_id(PolicyId::new(id)));
        }
    }
    if problems.is_empty() { Ok(out) } else { Err(problems) }
}

/// Strict validation; a warning (a policy that can never apply, look-alike letters) is a mistake too.
fn validate(schema: &Schema, policies: &[Policy], text: &str) -> Vec<Problem> {
    let Ok(set) = PolicySet::from_policies(policies.iter().cloned()) else {
        return vec![Problem::new("the policies do not go together")];
    };
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    let errors = result.validation_errors().map(|why| Problem::found(Some(why.policy_id().as_ref()), text, why));
    let warnings = result.validation_warnings().map(|why| Problem::found(Some(why.policy_id().as_ref()), text, why));
    errors.chain(warnings).collect()
}

fn hold(policy: Policy, text: &str) -> Result<Held, Problem> {
    let id = policy.id().to_string();
    let mistake = |what: &str| Problem::of(&id, text, what);
    let mut json = policy.to_json().map_err(|why| mistake(&why.to_string()))?;
    let reads = Reads::of(&json);
    let effect = match policy.effect() {
        cedar_policy::Effect::Permit => Effect::Permit,
        cedar_policy::Effect::Forbid => Effect::Forbid,
    };
    if effect == Effect::Permit && reads.touches("answer") {
        return Err(mistake(
            "a `permit` cannot read `context.answer`: it is decided before anything is asked; write a `forbid`",
        ));
    }
    if effect == Effect::Permit && reads.touches("request.address") {
        return Err(mistake(
            "a `permit` cannot read `context.request.address`: being on a network proves nothing; write a `forbid`",
        ));
    }
    let mut optional = [false; OPTIONAL.len()];
    for index in reads.optional() {
        if let Some(reads) = optional.get_mut(index) {
            *reads = true;
        }
    }
    let unknowing = if effect == Effect::Forbid && optional.contains(&true) {
        let conditions = json.get_mut("conditions").and_then(serde_json::Value::as_array_mut);
        let conditions = conditions.ok_or_else(|| mistake("its conditions cannot be told apart"))?;
        conditions.retain(|condition| Reads::of(condition).optional().next().is_none());
        let policy = Policy::from_json(Some(policy.id().clone()), json).map_err(|why| mistake(&why.to_string()))?;
        Some(policy)
    } else {
        None
    };
    let reads_shown = reads.paths().into_iter().map(str::to_owned).collect();
    let info = PolicyInfo { id, effect, stability: reads.stability(), reads: reads_shown };
    Ok(Held { info, policy, unknowing, optional })
}
