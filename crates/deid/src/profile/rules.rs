//! Which rule has an element: the first in the file whose path leads to it or to something it stands in.

use fhir::ResourceType;
use fhir::elements::Datatype;
use fhir::json::Value;

use super::path::{Pattern, Selector, What};

/// What becomes of an element, from the widest to the narrowest.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Method {
    /// It leaves as it is.
    Keep,
    /// It leaves if it is in a closed set: a code of a public terminology, a unit, a state. Numbers and booleans always.
    KeepKnown,
    /// A date becomes its year, an age above 89 one bucket, a ZIP code its three digits.
    Generalize,
    /// An id or reference becomes a random one.
    Surrogate,
    /// A text becomes the one of the rule.
    Substitute,
    /// It does not leave.
    Redact,
}

/// One rule of a file.
pub(crate) struct Rule {
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) method: Method,
    pub(crate) replacement: Box<str>,
}

/// The rules of a file, in its order.
pub(crate) struct RuleSet {
    rules: Vec<Rule>,
    /// Number of the rule and one of its patterns, in the order of the rules.
    patterns: Vec<(u16, Pattern)>,
    /// Patterns that may begin at any element.
    anywhere: Vec<u16>,
}

/// A pattern met as far as this element: which, and the selector to meet next.
#[derive(Clone, Copy)]
pub(crate) struct State {
    pattern: u16,
    next: u8,
}

/// Where the rules stand at one element: its states on the stack, and the first rule that has it.
#[derive(Clone, Copy)]
pub(crate) struct Trail {
    from: usize,
    to: usize,
    rule: u16,
}

/// No rule has it.
const NONE: u16 = u16::MAX;

/// An element as rules see it.
pub(crate) struct Node<'n> {
    /// Its name in a path.
    pub(crate) name: &'n str,
    pub(crate) datatype: Datatype,
    /// Not there when rules are looked at without data: a filter counts as met then.
    pub(crate) value: Option<Value<'n>>,
}

impl RuleSet {
    /// At most [`super::RULES_MAX`] rules, whose numbers fit.
    pub(crate) fn new(mut rules: Vec<Rule>) -> Self {
        let mut patterns = Vec::new();
        for (number, rule) in (0_u16..).zip(&mut rules) {
            patterns.extend(rule.patterns.drain(..).map(|pattern| (number, pattern)));
        }
        let begins = |pattern: &Pattern| {
            let deep = |what: &What| matches!(what, What::DeepType(_) | What::DeepName(_));
            matches!(pattern.as_slice(), [Selector { what: What::Root(None), filter: None, .. }, next, ..] if deep(&next.what))
        };
        let anywhere = (0_u16..).zip(&patterns).filter(|(_, (_, pattern))| begins(pattern)).map(|(at, _)| at).collect();
        Self { rules, patterns, anywhere }
    }

    /// What becomes of the element of `trail`; without a rule it does not leave.
    pub(crate) fn method(&self, trail: Trail) -> Method {
        self.rules.get(usize::from(trail.rule)).map_or(Method::Redact, |rule| rule.method)
    }

    /// What the rule of `trail` puts in place of a text.
    pub(crate) fn replacement(&self, trail: Trail) -> &str {
        self.rules.get(usize::from(trail.rule)).map_or("", |rule| &rule.replacement)
    }

    /// A resource begins. Rules of the resource around it do not reach into it.
    pub(crate) fn root(&self, stack: &mut Vec<State>, kind: Option<ResourceType>, value: Option<Value<'_>>) -> Trail {
        let mut trail = Trail { from: stack.len(), to: stack.len(), rule: NONE };
        for (at, (rule, pattern)) in (0_u16..).zip(&self.patterns) {
            let Some((Selector { what: What::Root(wanted), filter, .. }, rest)) = pattern.split_first() else {
                continue;
            };
            if wanted.is_some() && *wanted != kind || !meets(filter.as_ref(), value) {
                continue;
            }
            if rest.is_empty() {
                trail.rule = trail.rule.min(*rule);
            } else if self.anywhere.binary_search(&at).is_err() {
                stack.push(State { pattern: at, next: 1 });
            }
        }
        trail.to = stack.len();
        trail
    }

    /// An element of the one at `above` begins. Ends with [`leave`].
    pub(crate) fn enter(&self, stack: &mut Vec<State>, above: Trail, node: &Node<'_>) -> Trail {
        let mut trail = Trail { from: stack.len(), to: stack.len(), rule: above.rule };
        for at in above.from..above.to {
            if let Some(state) = stack.get(at).copied() {
                self.step(stack, state, node, &mut trail.rule, true);
            }
        }
        for pattern in &self.anywhere {
            self.step(stack, State { pattern: *pattern, next: 1 }, node, &mut trail.rule, false);
        }
        trail.to = stack.len();
        trail
    }

    fn step(&self, stack: &mut Vec<State>, state: State, node: &Node<'_>, first: &mut u16, stays: bool) {
        let Some((rule, pattern)) = self.patterns.get(usize::from(state.pattern)) else { return };
        let Some(selector) = pattern.get(usize::from(state.next)) else { return };
        // A rule behind the one that has the element already can change nothing below it either.
        if *rule >= *first {
            return;
        }
        let (met, deep) = match &selector.what {
            What::Root(_) => (false, false),
            What::Child(name) => (**name == *node.name, false),
            What::DeepType(datatype) => (*datatype == node.datatype, true),
            What::DeepName(name) => (**name == *node.name, true),
        };
        if deep && stays {
            stack.push(state);
        }
        if !met || selector.of.is_some_and(|of| of != node.datatype) || !meets(selector.filter.as_ref(), node.value) {
            return;
        }
        if usize::from(state.next) + 1 == pattern.len() {
            *first = *rule;
        } else {
            stack.push(State { pattern: state.pattern, next: state.next + 1 });
        }
    }
}

/// The element of `trail` ends.
pub(crate) fn leave(stack: &mut Vec<State>, trail: Trail) {
    stack.truncate(trail.from);
}

/// Whether `value` has the text a filter asks for, alone.
fn meets(filter: Option<&(Box<str>, Box<str>)>, value: Option<Value<'_>>) -> bool {
    let (Some((name, text)), Some(value)) = (filter, value) else { return true };
    let Some(found) = value.get(name) else { return false };
    if !found.is_array() {
        return found.is_str(text);
    }
    let mut all = found.elements();
    all.next().is_some_and(|only| only.is_str(text)) && all.next().is_none()
}
