//! Roles of AI services: listed, shown, and read from the YAML that organisations have them in.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use domain::{RoleName, ServiceRole};
use serde::Deserialize;
use serde_saphyr::DuplicateKeyPolicy;

use super::problem::{ApiError, Mistake};
use super::visit::Visit;
use super::{Answer, ok, shapes};
use crate::registry::Registry;

/// RFC 9512: the media type under which a file of roles is applied.
pub(super) const YAML: &str = "application/yaml";

/// Most roles in one file.
const ROLES_MAX: usize = 200;

/// Roles by name, as a file holds them.
pub(super) type Roles = BTreeMap<RoleName, ServiceRole>;

/// The file; nothing else stands in it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    ai_service_roles: Roles,
}

/// Reads a file of roles. What is not known, or there twice, is a mistake at its place.
pub(super) fn read(text: &str) -> Result<Roles, ApiError> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    let file: File = serde_saphyr::from_str_with_options(text, options).map_err(|why| {
        let line = why.location().and_then(|at| usize::try_from(at.line()).ok()).filter(|line| *line > 0);
        let what = why.to_string().lines().next().unwrap_or("this is not YAML").to_owned();
        ApiError::listed(vec![Mistake { line, what }])
    })?;
    if file.ai_service_roles.len() > ROLES_MAX {
        let what = format!("`ai_service_roles` holds at most {ROLES_MAX} roles");
        return Err(ApiError::listed(vec![Mistake { line: None, what }]));
    }
    Ok(file.ai_service_roles)
}

pub(super) async fn list(State(registry): State<Registry>, visit: Visit) -> Answer {
    let snapshot = registry.snapshot();
    let tenant = visit.tenant()?;
    ok(shapes::items(snapshot.roles(tenant).map(|(name, held)| shapes::role(&snapshot, tenant, name, held))))
}

pub(super) async fn show(
    State(registry): State<Registry>,
    visit: Visit,
    Path((_, name)): Path<(String, String)>,
) -> Answer {
    let snapshot = registry.snapshot();
    let tenant = visit.tenant()?;
    let name: RoleName = name.parse().map_err(|_| ApiError::missing("role"))?;
    let held = snapshot.role(tenant, &name).ok_or_else(|| ApiError::missing("role"))?;
    ok(shapes::role(&snapshot, tenant, &name, held))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of source document 004, as its organisation wrote it.
    const EXAMPLE: &str = r#"
ai_service_roles:
  clinical_ai_reader:
    permissions:
      - "inference:invoke"
      - "model:read"
    phi_access: "de-identified-only"
    session_timeout: "15m"
    mfa_required: true
  ai_model_trainer:
    permissions:
      - "training:execute"
      - "data:read"
    phi_access: "de-identified-only"
    data_export: false
    environment: "isolated-vpc"
"#;

    #[test]
    fn s4_05_the_example_loads_as_it_is() {
        let roles = read(EXAMPLE).unwrap();
        let names: Vec<_> = roles.keys().map(RoleName::as_str).collect();
        assert_eq!(names, ["ai_model_trainer", "clinical_ai_reader"]);
        let reader = serde_json::to_value(&roles[&"clinical_ai_reader".parse().unwrap()]).unwrap();
        assert_eq!(
            reader,
            serde_json::json!({
                "permissions": ["inference:invoke", "model:read"], "phi_access": "de-identified-only",
                "session_timeout": "15m", "mfa_required": true, "data_export": true
            })
        );
        let trainer = serde_json::to_value(&roles[&"ai_model_trainer".parse().unwrap()]).unwrap();
        assert_eq!((&trainer["data_export"], &trainer["environment"]), (&false.into(), &"isolated-vpc".into()));
    }

    #[test]
    fn s4_05_the_examples_of_the_documentation_load_and_one_of_them_works() {
        let shown = read(include_str!("../../../../../docs/examples/roles.yaml")).unwrap();
        assert_eq!(shown, read(EXAMPLE).unwrap());
        let mut integration = testkit::world::World::new("patient/Observation.rs").integration;
        integration.environment = domain::Environment::Production;
        assert!(shown.values().all(|role| role.admits(&integration).is_err()), "what they ask for is not to be had");
        let works = read(include_str!("../../../../../docs/examples/chart-reader.yaml")).unwrap();
        assert!(works.len() == 1 && works.values().all(|role| role.admits(&integration).is_ok()));
    }

    #[test]
    fn what_is_not_known_is_a_mistake_at_its_line() {
        for (text, line) in [
            (EXAMPLE.replace("phi_access: \"de-identified-only\"\n    session", "phi_acces: \"x\"\n    session"), 7),
            (EXAMPLE.replace("data_export: false", "data_export: no"), 15),
            (EXAMPLE.replace("\"15m\"", "\"15 minutes\""), 8),
            (EXAMPLE.replace("ai_model_trainer", "clinical_ai_reader"), 10),
            (EXAMPLE.replace("ai_service_roles:", "roles:"), 2),
            (EXAMPLE.replace("clinical_ai_reader", "Clinical Reader"), 3),
        ] {
            let mistakes = read(&text).unwrap_err().mistakes;
            assert_eq!(mistakes.len(), 1, "{mistakes:?}");
            let at = mistakes[0].line.unwrap_or_default();
            assert!(at.abs_diff(line) <= 1, "line {at} for {line}: {mistakes:?}");
            assert!(!mistakes[0].what.is_empty());
        }
        for text in ["", "[]", "ai_service_roles: [", "ai_service_roles: 1", "{}", "- a\n- b"] {
            assert!(read(text).is_err(), "`{text}`");
        }
    }
}
