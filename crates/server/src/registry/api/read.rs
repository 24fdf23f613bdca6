//! Reading what people send: every mistake of an object at once, each naming its field.

use std::collections::BTreeSet;

use axum::extract::{FromRequest, Request};
use domain::{
    Approval, AuthMethod, ClientAuth, Integration, IntegrationStatus, Keys, Millis, TaskProfile, TaskRef, TenantId,
    Terms,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use store::Thumbprint;
use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime};

use super::problem::ApiError;
use crate::registry::jwks;

/// Largest body accepted.
pub(super) const BODY_MAX: usize = 1024 * 1024;

/// A JSON object from a request's body; an empty body is an empty object.
#[derive(Debug)]
pub(super) struct Body(pub Fields);

/// The text of a request's body.
#[derive(Debug)]
pub(super) struct Text(pub String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = axum::body::to_bytes(request.into_body(), BODY_MAX).await;
        let bytes = bytes.map_err(|_| ApiError::malformed("the body is longer than 1 MiB or broke off"))?;
        String::from_utf8(bytes.into()).map(Self).map_err(|_| ApiError::malformed("the body is not UTF-8"))
    }
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let Text(text) = Text::from_request(request, state).await?;
        if text.trim().is_empty() {
            return Ok(Self(Fields::default()));
        }
        match serde_json::from_str(&text) {
            Ok(Value::Object(map)) => Ok(Self(Fields::new(map))),
            Ok(_) => Err(ApiError::malformed("the body must be a JSON object")),
            Err(why) => Err(ApiError::malformed(format!("the body is not JSON: {why}"))),
        }
    }
}

/// The members of an object, taken one by one; what is left over is unknown.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    map: Map<String, Value>,
    /// Everything wrong so far.
    pub mistakes: Vec<String>,
}

impl Fields {
    pub(crate) fn new(map: Map<String, Value>) -> Self {
        Self { map, mistakes: Vec::new() }
    }

    /// A member that may be absent.
    pub(crate) fn maybe<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let value = self.map.remove(name).filter(|value| !value.is_null())?;
        match serde_json::from_value(value) {
            Ok(value) => Some(value),
            Err(why) => {
                self.mistakes.push(format!("`{name}`: {why}"));
                None
            }
        }
    }

    /// A member that must be there.
    pub(crate) fn must<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        if self.map.get(name).is_none_or(Value::is_null) {
            self.map.remove(name);
            self.mistakes.push(format!("`{name}` is missing"));
            return None;
        }
        self.maybe(name)
    }

    /// A member the path names already: it may be left out, and must not differ.
    pub(crate) fn named(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        if self.map.get(name).is_some_and(|sent| *sent != value) {
            self.mistakes.push(format!("`{name}` is not the one in the path"));
        }
        self.map.insert(name.to_owned(), value);
    }

    /// A time: RFC 3339, or a date, which means the end of that day in UTC.
    pub(crate) fn time(&mut self, name: &str) -> Option<Millis> {
        let text: String = self.must(name)?;
        let time = parse_time(&text);
        if time.is_none() {
            self.mistakes.push(format!("`{name}`: `{text}` is neither a date (2027-06-30) nor an RFC 3339 time"));
        }
        time
    }

    /// Nothing may be left.
    pub(crate) fn finish(&mut self) {
        let left: Vec<_> = std::mem::take(&mut self.map).into_iter().map(|(name, _)| name).collect();
        self.mistakes.extend(left.into_iter().map(|name| format!("`{name}` is not a known key here")));
    }

    /// What was read, unless there were mistakes.
    pub(crate) fn end<T>(mut self, read: Option<T>) -> Result<T, Vec<String>> {
        self.finish();
        match read {
            Some(read) if self.mistakes.is_empty() => Ok(read),
            _ => Err(self.mistakes),
        }
    }
}

/// A date or time as people write it.
pub(crate) fn parse_time(text: &str) -> Option<Millis> {
    let millis = |time: OffsetDateTime| Millis::try_from(time.unix_timestamp_nanos() / 1_000_000).ok();
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return millis(time);
    }
    let date = Date::parse(text, time::macros::format_description!("[year]-[month]-[day]")).ok()?;
    millis(date.next_day()?.midnight().assume_utc())
}

/// A time as the API shows it.
pub(crate) fn show_time(time: Millis) -> String {
    let nanos = i128::from(time) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| time.to_string())
}

/// A registration. `status` and `epoch` are the registry's own and cannot be sent; neither can another tenant.
pub(crate) fn integration(
    tenant: &TenantId,
    mut fields: Fields,
) -> Result<(Integration, Vec<Thumbprint>), Vec<String>> {
    this_tenant(tenant, &mut fields);
    let auth = fields.must::<Value>("auth").and_then(|value| match client_auth(value) {
        Ok(read) => Some(read),
        Err(mistakes) => {
            fields.mistakes.extend(mistakes);
            None
        }
    });
    // Every field is looked at before any is required, so that all mistakes show at once.
    let (id, name, class) = (fields.must("id"), fields.must("name"), fields.maybe("class"));
    let (environment, owners) = (fields.must("environment"), fields.must("owners"));
    let (vendor, purpose, data_classes) = (fields.must("vendor"), fields.must("purpose"), fields.must("data_classes"));
    let expected: Option<Vec<fhir::ResourceType>> = fields.maybe("expected");
    let (expires_at, revocation_contact) = (fields.time("expires_at"), fields.must("revocation_contact"));
    let (redirect_uris, launches, role) =
        (fields.maybe("redirect_uris"), fields.maybe("launches"), fields.maybe("role"));
    let (launch_urls, origins) = (fields.maybe("launch_urls"), fields.maybe("origins"));
    let (frame_ancestors, demands) = (fields.maybe("frame_ancestors"), fields.maybe("demands"));
    let introspects = fields.maybe("introspects");
    let read = (|| {
        let (auth, thumbprints) = auth?;
        let integration = Integration {
            id: id?,
            tenant: tenant.clone(),
            name: name?,
            class: class.unwrap_or_default(),
            environment: environment?,
            owners: owners?,
            vendor: vendor?,
            purpose: purpose?,
            data_classes: data_classes?,
            expected: expected.unwrap_or_default().into_iter().collect(),
            expires_at: expires_at?,
            revocation_contact: revocation_contact?,
            auth,
            redirect_uris: redirect_uris.unwrap_or_default(),
            launch_urls: launch_urls.unwrap_or_default(),
            origins: origins.unwrap_or_default(),
            frame_ancestors: frame_ancestors.unwrap_or_default(),
            demands: demands.unwrap_or_default(),
            introspects: introspects.unwrap_or_default(),
            launches: launches.unwrap_or_default(),
            role,
            status: IntegrationStatus::Active,
            epoch: 0,
        };
        Some((integration, thumbprints))
    })();
    fields.end(read)
}

fn this_tenant(tenant: &TenantId, fields: &mut Fields) {
    if let Some(named) = fields.maybe::<TenantId>("tenant")
        && named != *tenant
    {
        fields.mistakes.push(format!("`tenant`: `{named}` is not the tenant this is written to"));
    }
}

fn client_auth(value: Value) -> Result<(ClientAuth, Vec<Thumbprint>), Vec<String>> {
    let Value::Object(map) = value else { return Err(vec!["`auth` must be an object".into()]) };
    let mut fields = Fields::new(map);
    let method = match fields.maybe::<Value>("method").map(serde_json::from_value::<AuthMethod>) {
        None => AuthMethod::default(),
        Some(Ok(method)) => method,
        Some(Err(why)) => {
            fields.mistakes.push(format!("`auth.method`: {why}"));
            AuthMethod::default()
        }
    };
    let keys = if method.takes_keys() {
        fields.must::<Map<String, Value>>("keys")
    } else {
        fields.maybe::<Map<String, Value>>("keys")
    };
    let without = keys.is_none() && !method.takes_keys();
    let keys = keys.map(Fields::new).and_then(|mut keys| {
        let (value, url) = (keys.maybe::<Value>("jwks"), keys.maybe::<String>("jwks_url"));
        keys.finish();
        fields.mistakes.extend(keys.mistakes.into_iter().map(|what| format!("`auth.keys`: {what}")));
        match (value, url) {
            (Some(value), None) => match jwks::read(&value) {
                Ok(read) => Some((Keys::Jwks(read.text), read.thumbprints)),
                Err(mistakes) => {
                    fields.mistakes.extend(mistakes.into_iter().map(|what| format!("`auth.keys.jwks`: {what}")));
                    None
                }
            },
            (None, Some(url)) => Some((Keys::JwksUrl(url), Vec::new())),
            _ => {
                fields.mistakes.push("`auth.keys` must hold exactly one of `jwks` and `jwks_url`".into());
                None
            }
        }
    });
    let keys = if without { Some((Keys::Absent, Vec::new())) } else { keys };
    let (algorithms, audience) = (fields.maybe::<BTreeSet<String>>("algorithms"), fields.maybe("audience"));
    if let (Some((Keys::Jwks(set), _)), Some(listed)) = (&keys, &algorithms)
        && !jwks::can_sign(set, listed)
    {
        fields.mistakes.push("`auth.algorithms` names no algorithm that a key of `auth.keys.jwks` signs with".into());
    }
    let read = keys.map(|(keys, thumbprints)| {
        let auth = ClientAuth {
            method,
            keys,
            algorithms: algorithms.unwrap_or_default(),
            audience: audience.unwrap_or_default(),
        };
        (auth, thumbprints)
    });
    fields.end(read)
}

/// One profile version; should it name a tenant, then this one.
pub(crate) fn task(tenant: &TenantId, mut fields: Fields) -> Result<TaskProfile, Vec<String>> {
    this_tenant(tenant, &mut fields);
    let (name, version) = (fields.must("name"), fields.must("version"));
    let (purpose, purpose_of_use, scopes) =
        (fields.must("purpose"), fields.must("purpose_of_use"), fields.must("scopes"));
    let (operations, labels) = (fields.maybe("operations"), fields.maybe("labels"));
    let sender_constraint = fields.maybe("sender_constraint");
    let read = (|| {
        Some(TaskProfile {
            name: name?,
            version: version?,
            purpose: purpose?,
            purpose_of_use: purpose_of_use?,
            scopes: scopes?,
            operations: operations.unwrap_or_default(),
            labels: labels.unwrap_or_default(),
            sender_constraint: sender_constraint.unwrap_or_default(),
        })
    })();
    fields.end(read)
}

/// What a request for approval says: task, justification and terms.
pub(crate) fn request(fields: &mut Fields) -> Option<(TaskRef, String, Terms)> {
    let task = fields.must::<Value>("task").and_then(|value| {
        let read = match &value {
            Value::String(text) => task_ref(text),
            value => serde_json::from_value(value.clone()).ok(),
        };
        if read.is_none() {
            fields.mistakes.push(format!("`task`: `{value}` is not of the form \"scheduling@1\""));
        }
        read
    });
    let (justification, terms) = (fields.must("justification"), fields.must("terms"));
    Some((task?, justification?, terms?))
}

/// `scheduling@1`.
pub(crate) fn task_ref(text: &str) -> Option<TaskRef> {
    let (name, version) = text.split_once('@')?;
    Some(TaskRef { name: name.parse().ok()?, version: version.parse().ok().filter(|version| *version > 0)? })
}

/// The word of an approval's status.
pub(crate) fn status_word(approval: &Approval) -> &'static str {
    match approval.status {
        domain::ApprovalStatus::Requested => "requested",
        domain::ApprovalStatus::Approved { .. } => "approved",
        domain::ApprovalStatus::Suspended { .. } => "suspended",
        domain::ApprovalStatus::Rejected { .. } => "rejected",
        domain::ApprovalStatus::Ended { .. } => "ended",
    }
}

#[test]
fn times_are_dates_to_the_end_or_rfc_3339() {
    for (text, shown) in [
        ("2027-06-30", Some("2027-07-01T00:00:00Z")),
        ("2027-06-30T12:00:00Z", Some("2027-06-30T12:00:00Z")),
        ("2027-06-30T12:00:00.25+02:00", Some("2027-06-30T10:00:00.25Z")),
        ("30.6.2027", None),
        ("2027-02-30", None),
        ("", None),
    ] {
        assert_eq!(parse_time(text).map(show_time).as_deref(), shown, "`{text}`");
    }
}
