//! Searches that are asked for the hospital itself and not for an integration: which patients a person may pick from.

use domain::{SessionId, TenantId};
use fhir::ResourceType;
use serde_json::Value;

use super::Broker;
use super::upstream::Own;

/// Records asked for at once; who has more patients than that picks at the EHR.
const COUNT: u32 = 200;

/// What a search found on its first page.
#[derive(Debug)]
pub struct Listed {
    /// The matches, as the upstream sent them: nothing about them has been judged.
    pub resources: Vec<Value>,
    /// Whether there are more.
    pub more: bool,
}

impl Broker {
    /// The first page of a search, by the EHR's token of `session` where the EHR launches one and by the tenant's own credential
    /// elsewhere; `None` when the upstream fails or answers anything but a Bundle.
    pub async fn list(
        &self,
        tenant: &TenantId,
        session: Option<&SessionId>,
        kind: ResourceType,
        query: &str,
    ) -> Option<Listed> {
        let own = match (session, &self.0.grants) {
            (None, _) => None,
            (Some(session), Some(grants)) => Some(Own { grants, tenant, session: *session }),
            (Some(_), None) => return None,
        };
        let upstream = self.upstream(tenant)?;
        let url = format!("{}/{kind}?{query}&_count={COUNT}", upstream.base());
        let received = upstream.fetch(own.as_ref(), &url).await.ok()?;
        if received.status.as_u16() != 200 {
            return None;
        }
        let mut bundle: Value = serde_json::from_slice(&received.body).ok()?;
        if bundle.get("resourceType").and_then(Value::as_str) != Some("Bundle") {
            return None;
        }
        let links = bundle.get("link").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let more = links.iter().any(|link| link.get("relation").and_then(Value::as_str) == Some("next"));
        let entries = match bundle.get_mut("entry").map(Value::take) {
            Some(Value::Array(entries)) => entries,
            None => Vec::new(),
            Some(_) => return None,
        };
        let is_match =
            |entry: &Value| entry.pointer("/search/mode").and_then(Value::as_str).is_none_or(|mode| mode == "match");
        let resource = |mut entry: Value| entry.get_mut("resource").map(Value::take);
        let resources = entries.into_iter().filter(is_match).filter_map(resource).collect();
        Some(Listed { resources, more })
    }
}
