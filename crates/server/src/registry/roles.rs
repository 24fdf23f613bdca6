//! Roles of AI services as a plan writes them: whoever names one is judged anew with every text of it.

use domain::{Integration, IntegrationStatus, RoleName, ServiceRole, TenantId};
use store::{PutRole, RoleRow};

use super::plan::{Mistakes, Plan};
use super::snapshot::Held;

impl Plan {
    /// A role, new or with another text. Another text suspends the approvals of the integrations that name it, and ends what
    /// they were issued, whether it narrows or widens.
    pub(crate) fn role(&mut self, tenant: &TenantId, name: RoleName, role: ServiceRole) -> Result<(), Mistakes> {
        let mistakes = role.mistakes();
        if !mistakes.is_empty() {
            return Err(mistakes.into_iter().map(|what| format!("role `{name}`: {what}")).collect());
        }
        let held = self.snapshot.role(tenant, &name);
        if held.is_some_and(|held| *held.value == role) {
            self.line("unchanged", format!("role {name}"));
            return Ok(());
        }
        let expected = held.map(|held| held.revision);
        let revision = expected.unwrap_or(0) + 1;
        self.line(if expected.is_some() { "update" } else { "create" }, format!("role {name}"));
        let row = RoleRow { tenant: tenant.clone(), name: name.clone(), role: role.clone(), revision };
        self.snapshot.put_roles(vec![row]);
        self.change.roles.push(PutRole { tenant: tenant.clone(), name: name.clone(), role, expected });
        let all = self.snapshot.integrations(tenant).into_iter();
        let theirs: Vec<Held<Integration>> =
            all.filter(|held| held.value.role.as_ref() == Some(&name)).cloned().collect();
        for held in theirs {
            if held.value.status == IntegrationStatus::Ended {
                continue;
            }
            let mut new = Integration::clone(&held.value);
            let id = new.id.clone();
            new.epoch += 1;
            self.line("update", format!("integration {id}: role"));
            self.put(new, Vec::new(), Some(held.revision));
            self.changed(&id, &format!("the role {name} changed"));
        }
        Ok(())
    }
}
