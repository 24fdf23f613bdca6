//! An organisation's policies as the registry holds them: their text, and what became of it.

use std::sync::{Arc, LazyLock};

use domain::TenantId;
use orgpolicy::Policies;
use store::{PolicyRow, PutPolicy};

use super::plan::{Mistakes, Plan};

/// A tenant's own policies.
#[derive(Clone, Debug)]
pub(crate) struct TenantPolicies {
    pub text: Arc<str>,
    /// `None` if the text has a mistake now, say because a newer schema no longer knows a name: then nothing is allowed.
    pub parsed: Option<Arc<Policies>>,
    pub revision: u64,
}

impl TenantPolicies {
    pub(crate) fn read(row: PolicyRow) -> Self {
        let parsed = Policies::parse(&row.text, row.revision);
        if let Err(problems) = &parsed {
            let shown: Vec<_> = problems.iter().map(ToString::to_string).collect();
            tracing::error!(
                "the policies of {} have mistakes, so it is denied everything: {}",
                row.tenant,
                shown.join("; ")
            );
        }
        Self { text: row.text.into(), parsed: parsed.ok().map(Arc::new), revision: row.revision }
    }
}

/// The shipped policies; their epoch is 0, which no text of a tenant has.
pub(crate) fn shipped() -> Option<&'static Arc<Policies>> {
    static SHIPPED: LazyLock<Option<Arc<Policies>>> = LazyLock::new(|| Policies::shipped(0).ok().map(Arc::new));
    SHIPPED.as_ref()
}

impl Plan {
    /// A tenant's policies, whole: validated here, so that none with a mistake is ever in force.
    pub(crate) fn policies(&mut self, tenant: &TenantId, text: String) -> Result<(), Mistakes> {
        let own = self.snapshot.own_policies(tenant);
        if own.is_some_and(|own| *own.text == *text) {
            self.line("unchanged", "policies".to_owned());
            return Ok(());
        }
        let expected = own.map(|own| own.revision);
        let revision = expected.unwrap_or(0) + 1;
        let parsed = Policies::parse(&text, revision)
            .map_err(|problems| problems.iter().map(|problem| format!("`text`: {problem}")).collect::<Vec<_>>())?;
        let action = if expected.is_some() { "update" } else { "create" };
        self.line(action, format!("policies: {}", parsed.infos().len()));
        self.snapshot.put_policies(vec![PolicyRow { tenant: tenant.clone(), text: text.clone(), revision }]);
        self.change.policies.push(PutPolicy { tenant: tenant.clone(), text, expected });
        Ok(())
    }
}

#[test]
fn the_shipped_policies_are_there() {
    assert!(shipped().is_some());
}
