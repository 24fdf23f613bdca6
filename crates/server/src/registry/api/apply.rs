//! Manifests: what `hilum apply` sends. All mistakes at once, each with its line; never approves anything.
//!
//! ```toml
//! [[task]]
//! name = "scheduling"
//! version = 2
//! …
//! [[integration]]
//! id = "scheduler-1"
//! …
//! [[integration.request]]
//! task = "scheduling@2"
//! justification = "…"
//! terms = { launch = [{ mode = "ticket" }], token_seconds = 300, budgets = { patients_per_hour = 100 } }
//!
//! [[policy]]
//! text = '''
//! @id("granted") permit (principal, action, resource);
//! '''
//! ```
//!
//! Roles of AI services come in the YAML that organisations have them in (`application/yaml`): see `roles.rs`.

use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use domain::{ApprovalId, Reason, Role, TenantId};
use serde_json::{Map, Value, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{ApiError, Mistake};
use super::read::{self, Fields, Text};
use super::roles::{self, Roles};
use super::visit::Visit;
use super::{Answer, asked, ok, query, shapes};
use crate::clock::random;
use crate::registry::Registry;
use crate::registry::plan::{Again, Asked, Plan};

/// Most objects in one manifest.
const OBJECTS_MAX: usize = 1_000;

pub(super) async fn apply(
    State(registry): State<Registry>,
    mut visit: Visit,
    uri: Uri,
    headers: HeaderMap,
    Text(text): Text,
) -> Answer {
    let query = query(&uri, &["tenant", "dry_run"])?;
    let tenant = tenant(&registry, &visit, asked(&query, "tenant")?)?;
    let dry_run: bool = asked(&query, "dry_run")?.unwrap_or(false);
    visit.tenant = Some(tenant.clone());
    let (manifest, mut mistakes) =
        if is_yaml(&headers) { (Manifest::of(roles::read(&text)?), Vec::new()) } else { Manifest::read(&text)? };
    if !manifest.is_policy_alone() {
        holds(&visit, &tenant, Role::Operator)?;
    }
    let _one = registry.0.changing.lock().await;
    let mut plan = Plan::new(&registry.snapshot(), registry.0.clock.now());
    mistakes.extend(manifest.plan(&tenant, &visit, &mut plan)?);
    mistakes.sort_by_key(|mistake| mistake.line);
    if !mistakes.is_empty() {
        return Err(ApiError::listed(mistakes));
    }
    if !plan.change.policies.is_empty() && !dry_run {
        // Policies bind those who register and those who approve; they are the privacy office's own.
        holds(&visit, &tenant, Role::PrivacyOfficer)?;
    }
    if !dry_run {
        let deed = visit.deed(format!("{} changes", plan.lines.len()), text);
        registry.write_plan(&visit, deed, &plan).await?;
    }
    ok(json!({ "dry_run": dry_run, "changes": shapes::lines(&plan.lines) }))
}

fn is_yaml(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case(roles::YAML))
}

/// The tenant named, or the only one; the person must have one of the two roles there.
fn tenant(registry: &Registry, visit: &Visit, named: Option<TenantId>) -> Result<TenantId, ApiError> {
    let tenant = match (named, registry.0.tenants.as_slice()) {
        (Some(tenant), _) => tenant,
        (None, [only]) => only.id.clone(),
        (None, _) => return Err(ApiError::malformed("say which tenant: ?tenant=…")),
    };
    if !visit.caller.holds(Some(&tenant), Role::PrivacyOfficer) {
        holds(visit, &tenant, Role::Operator)?;
    }
    let known = registry.0.tenants.iter().any(|known| known.id == tenant);
    if known { Ok(tenant) } else { Err(ApiError::missing("tenant")) }
}

fn holds(visit: &Visit, tenant: &TenantId, role: Role) -> Result<(), ApiError> {
    if visit.caller.holds(Some(tenant), role) {
        return Ok(());
    }
    Err(ApiError::forbidden(Reason::RoleInsufficient, format!("this takes the role {} in {tenant}", role.as_str())))
}

/// One table of the manifest: its members, and where its keys stand.
struct Object {
    fields: Map<String, Value>,
    line: usize,
    lines: Vec<(String, usize)>,
}

#[derive(Default)]
struct Manifest {
    roles: Roles,
    tasks: Vec<Object>,
    integrations: Vec<(Object, Vec<Object>)>,
    policies: Vec<Object>,
}

impl Manifest {
    /// The tables of a manifest, and what stands among them that should not.
    fn read(text: &str) -> Result<(Self, Vec<Mistake>), ApiError> {
        let table = DeTable::parse(text).map_err(|why| {
            let line = why.span().map(|span| line_of(text, span.start));
            ApiError::listed(vec![Mistake { line, what: why.message().to_owned() }])
        })?;
        let mut out = Self::default();
        let mut mistakes = Vec::new();
        for (key, value) in table.get_ref() {
            let line = line_of(text, key.span().start);
            match key.get_ref().as_ref() {
                "task" => out.tasks = objects(text, value, "task", &mut mistakes),
                "policy" => out.policies = objects(text, value, "policy", &mut mistakes),
                "integration" => {
                    out.integrations = objects(text, value, "integration", &mut mistakes)
                        .into_iter()
                        .zip(tables(value))
                        .map(|(mut object, table)| {
                            object.fields.remove("request");
                            let requests = table.get_ref().get("request");
                            let requests =
                                requests.map(|value| objects(text, value, "integration.request", &mut mistakes));
                            (object, requests.unwrap_or_default())
                        })
                        .collect();
                }
                other => mistakes.push(Mistake {
                    line: Some(line),
                    what: format!(
                        "`{other}` is not known here; a manifest holds [[task]], [[integration]] and [[policy]]"
                    ),
                }),
            }
        }
        if out.tasks.len() + out.integrations.len() + out.policies.len() > OBJECTS_MAX {
            let what = format!("a manifest holds at most {OBJECTS_MAX} objects");
            return Err(ApiError::listed(vec![Mistake { line: None, what }]));
        }
        Ok((out, mistakes))
    }

    /// A manifest of roles alone.
    fn of(roles: Roles) -> Self {
        Self { roles, ..Self::default() }
    }

    /// Whether it declares nothing that an operator answers for.
    fn is_policy_alone(&self) -> bool {
        !self.policies.is_empty() && self.tasks.is_empty() && self.integrations.is_empty()
    }

    /// Plans roles and tasks first, then integrations, then what they ask for, so that each may name what stands before it.
    fn plan(self, tenant: &TenantId, visit: &Visit, plan: &mut Plan) -> Result<Vec<Mistake>, ApiError> {
        let mut mistakes = Vec::new();
        for (name, role) in self.roles {
            if let Err(found) = plan.role(tenant, name, role) {
                mistakes.extend(found.into_iter().map(|what| Mistake { line: None, what }));
            }
        }
        for object in self.tasks {
            let place = object.place();
            let done = read::task(tenant, Fields::new(object.fields)).and_then(|task| plan.task(tenant, task));
            place.keep(done, &mut mistakes);
        }
        for (nth, object) in self.policies.into_iter().enumerate() {
            if nth > 0 {
                let what = "a tenant has one [[policy]]: write all policies into its `text`".to_owned();
                mistakes.push(Mistake { line: Some(object.line), what });
                continue;
            }
            let place = object.place();
            let mut fields = Fields::new(object.fields);
            let text = fields.must::<String>("text");
            let done = fields.end(text).and_then(|text| plan.policies(tenant, text));
            place.keep(done, &mut mistakes);
        }
        let mut asking = Vec::new();
        for (object, requests) in self.integrations {
            let place = object.place();
            let done = read::integration(tenant, Fields::new(object.fields)).and_then(|(integration, keys)| {
                let id = integration.id.clone();
                plan.integration(integration, keys).map(|()| id)
            });
            let id = place.keep(done, &mut mistakes);
            asking.extend(requests.into_iter().map(|request| (id.clone(), request)));
        }
        for (integration, object) in asking {
            let place = object.place();
            let mut fields = Fields::new(object.fields);
            let read = read::request(&mut fields);
            let read = place.keep(fields.end(read), &mut mistakes);
            // An integration that could not be read has said so already.
            let (Some((task, justification, terms)), Some(integration)) = (read, integration) else { continue };
            let id = ApprovalId(random()?);
            let by = visit.caller.person.clone();
            let asked = Asked { integration, task, terms, justification, by, id };
            place.keep(plan.request(tenant, asked, Again::Leave), &mut mistakes);
        }
        Ok(mistakes)
    }
}

struct Place {
    line: usize,
    lines: Vec<(String, usize)>,
}

impl Place {
    /// The value, or its mistakes with the line of the key each names first, else of the table.
    fn keep<T>(&self, done: Result<T, Vec<String>>, mistakes: &mut Vec<Mistake>) -> Option<T> {
        match done {
            Ok(value) => Some(value),
            Err(found) => {
                mistakes.extend(found.into_iter().map(|what| {
                    let named = what.split('`').nth(1).and_then(|name| name.split('.').next());
                    let line = self.lines.iter().find(|(key, _)| Some(key.as_str()) == named);
                    Mistake { line: Some(line.map_or(self.line, |(_, line)| *line)), what }
                }));
                None
            }
        }
    }
}

impl Object {
    fn place(&self) -> Place {
        Place { line: self.line, lines: self.lines.clone() }
    }
}

fn tables<'a, 'i>(value: &'a Spanned<DeValue<'i>>) -> impl Iterator<Item = Spanned<&'a DeTable<'i>>> {
    let array = value.get_ref().as_array();
    array
        .into_iter()
        .flat_map(|array| array.iter())
        .filter_map(|item| item.get_ref().as_table().map(|table| Spanned::new(item.span(), table)))
}

fn objects(text: &str, value: &Spanned<DeValue<'_>>, name: &str, mistakes: &mut Vec<Mistake>) -> Vec<Object> {
    let count = value.get_ref().as_array().map(|array| array.len());
    let out: Vec<_> = tables(value)
        .map(|table| Object {
            fields: table
                .get_ref()
                .iter()
                .map(|(key, value)| (key.get_ref().to_string(), json_of(value.get_ref())))
                .collect(),
            line: line_of(text, table.span().start),
            lines: table
                .get_ref()
                .keys()
                .map(|key| (key.get_ref().to_string(), line_of(text, key.span().start)))
                .collect(),
        })
        .collect();
    if count != Some(out.len()) {
        let line = Some(line_of(text, value.span().start));
        mistakes.push(Mistake { line, what: format!("write it as tables: [[{name}]]") });
    }
    out
}

/// TOML as JSON: dates and times become text.
fn json_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Null, Value::from)
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(yes) => Value::from(*yes),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(items) => items.iter().map(|item| json_of(item.get_ref())).collect(),
        DeValue::Table(table) => {
            table.iter().map(|(key, value)| (key.get_ref().to_string(), json_of(value.get_ref()))).collect()
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
