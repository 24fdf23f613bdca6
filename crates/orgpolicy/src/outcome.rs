//! What policies say: of a part of them, and joined.

use cedar_policy::{AuthorizationError, Decision, Response};

/// Whether an organisation's policies allow something, and which of them said so.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub enum Outcome {
    /// At least one policy permits and none forbids.
    Allow {
        /// Those that permit.
        policies: Vec<String>,
    },
    /// Not so.
    Deny {
        /// Those that forbid, or that could not be evaluated.
        policies: Vec<String>,
        /// Which of it.
        why: Why,
    },
}

/// Why policies deny.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// A policy forbids.
    Forbidden,
    /// No policy permits.
    NotPermitted,
    /// A policy could not be evaluated, or a fact fits the schema nowhere.
    Failed,
}

impl Why {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::NotPermitted => "not-permitted",
            Self::Failed => "failed",
        }
    }
}

impl Outcome {
    /// Whether it allows.
    #[must_use]
    pub fn allows(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }

    /// The policies it names.
    #[must_use]
    pub fn policies(&self) -> &[String] {
        match self {
            Self::Allow { policies } | Self::Deny { policies, .. } => policies,
        }
    }
}

/// What some of the policies say. Policies do not see each other, so parts evaluated apart say together what all would.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Part {
    permits: Vec<String>,
    forbids: Vec<String>,
    failed: Vec<String>,
    /// Something failed that is no single policy's.
    broken: bool,
}

impl Part {
    /// Nothing could be evaluated at all.
    pub(crate) fn broken() -> Self {
        Self { broken: true, ..Self::default() }
    }

    /// Of Cedar's answer. Cedar skips a policy that errs, even a `forbid`; here it is remembered and denies.
    pub(crate) fn of(response: &Response) -> Self {
        let diagnostics = response.diagnostics();
        let reasons = diagnostics.reason().map(ToString::to_string).collect();
        let failed = diagnostics.errors().map(failed_id).collect();
        match response.decision() {
            Decision::Allow => Self { permits: reasons, failed, ..Self::default() },
            Decision::Deny => Self { forbids: reasons, failed, ..Self::default() },
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.permits.extend(other.permits);
        self.forbids.extend(other.forbids);
        self.failed.extend(other.failed);
        self.broken |= other.broken;
        self
    }

    /// Whether it forbids or failed, whatever other parts say.
    #[must_use]
    pub fn denies(&self) -> bool {
        self.broken || !self.failed.is_empty() || !self.forbids.is_empty()
    }

    /// The outcome, if these are all the parts.
    pub fn outcome(self) -> Outcome {
        let deny = |policies, why| Outcome::Deny { policies: sorted(policies), why };
        if self.broken || !self.failed.is_empty() {
            return deny(self.failed, Why::Failed);
        }
        if !self.forbids.is_empty() {
            return deny(self.forbids, Why::Forbidden);
        }
        if self.permits.is_empty() {
            return deny(Vec::new(), Why::NotPermitted);
        }
        Outcome::Allow { policies: sorted(self.permits) }
    }
}

fn failed_id(AuthorizationError::PolicyEvaluationError(error): &AuthorizationError) -> String {
    error.policy_id().to_string()
}

/// Cedar gives ids in no order; records must not differ by it.
fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids.dedup();
    ids
}
