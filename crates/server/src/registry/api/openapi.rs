//! The OpenAPI document, made from the table of routes; so a route that is not described does not exist.

use axum::response::IntoResponse as _;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Ref,
    Required, ResponseBuilder, Type,
};

use super::visit::Need;
use super::{Answer, Route, bodies, problem, routes, shapes};

const SCHEME: &str = "token";

pub(super) async fn show() -> Answer {
    Ok(axum::Json(document()).into_response())
}

/// The whole document.
pub(in crate::registry) fn document() -> OpenApi {
    let components = ComponentsBuilder::new()
        .schema_from::<problem::Problem>()
        .schema_from::<problem::Mistake>()
        .schema_from::<shapes::Items>()
        .schema_from::<shapes::TenantShape>()
        .schema_from::<shapes::IntegrationShape>()
        .schema_from::<shapes::RegistrationShape>()
        .schema_from::<shapes::ApprovalShape>()
        .schema_from::<shapes::TaskShape>()
        .schema_from::<shapes::ServiceRoleShape>()
        .schema_from::<shapes::SessionShape>()
        .schema_from::<shapes::PersonShape>()
        .schema_from::<shapes::FilterShape>()
        .schema_from::<shapes::LineShape>()
        .schema_from::<bodies::LoginBody>()
        .schema_from::<bodies::AskLoginBody>()
        .schema_from::<bodies::FetchLoginBody>()
        .schema_from::<bodies::RoleShape>()
        .schema_from::<bodies::NewPersonBody>()
        .schema_from::<bodies::InitBody>()
        .schema_from::<bodies::PassphraseBody>()
        .schema_from::<bodies::ReasonBody>()
        .schema_from::<bodies::AskBody>()
        .schema_from::<bodies::ApproveBody>()
        .security_scheme(SCHEME, SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()))
        .build();
    let mut paths = PathsBuilder::new();
    for route in routes() {
        paths = paths.path(route.path, PathItem::new(method(&route), operation(&route)));
    }
    OpenApiBuilder::new()
        .info(InfoBuilder::new().title("Hilum").version(env!("CARGO_PKG_VERSION")).build())
        .components(Some(components))
        .paths(paths)
        .build()
}

fn method(route: &Route) -> HttpMethod {
    match route.method {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        _ => HttpMethod::Get,
    }
}

/// The schema of what a route answers, by its noun.
fn shape(route: &Route) -> Option<&'static str> {
    match (route.noun, route.verb) {
        (_, "list") => Some("Items"),
        ("integration", _) => Some("IntegrationShape"),
        ("registration", _) => Some("RegistrationShape"),
        ("approval", _) => Some("ApprovalShape"),
        ("task", _) => Some("TaskShape"),
        ("service-role", _) => Some("ServiceRoleShape"),
        ("session", _) => Some("SessionShape"),
        ("tenant", _) => Some("TenantShape"),
        ("person", "show" | "me" | "create" | "disable" | "enable") | ("role", _) => Some("PersonShape"),
        _ => None,
    }
}

/// The body a route takes.
fn body(route: &Route) -> Option<RequestBody> {
    let name = match (route.noun, route.verb) {
        ("api-token", "sign-in") => "LoginBody",
        ("login-request", "ask") => "AskLoginBody",
        ("login-request", "fetch") => "FetchLoginBody",
        ("person", "initialise") => "InitBody",
        ("person", "passphrase") => "PassphraseBody",
        ("person", "create") => "NewPersonBody",
        ("role", _) => "RoleShape",
        ("integration", "put") => "IntegrationShape",
        ("task", "put") => "TaskShape",
        ("approval", "request") => "AskBody",
        ("approval", "approve") => "ApproveBody",
        ("integration" | "registration" | "approval", "suspend" | "resume" | "end" | "reject") => "ReasonBody",
        ("manifest", _) => {
            let text = ObjectBuilder::new().schema_type(Type::String).build();
            let content = ContentBuilder::new().schema(Some(text)).build();
            let either = RequestBodyBuilder::new().content("application/toml", content.clone());
            return Some(either.content("application/yaml", content).build());
        }
        _ => return None,
    };
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(name))).build();
    Some(RequestBodyBuilder::new().content("application/json", content).required(Some(Required::True)).build())
}

fn operation(route: &Route) -> OperationBuilder {
    let roles = match route.need {
        Need::Public => "Public.".to_owned(),
        Need::Person => "Anyone signed in.".to_owned(),
        Need::Role(roles) => {
            format!("Roles: {}.", roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", "))
        }
    };
    let mut answer = ResponseBuilder::new().description("done");
    if let Some(name) = shape(route) {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(name))).build();
        answer = answer.content("application/json", content);
    }
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let refused = ResponseBuilder::new().description("refused").content("application/problem+json", problem);
    let mut out = OperationBuilder::new()
        .operation_id(Some(format!("{}-{}", route.noun, route.verb)))
        .tag(route.noun)
        .summary(Some(route.summary))
        .description(Some(roles))
        .request_body(body(route))
        .response("2XX", answer.build())
        .response("4XX", refused.build());
    for name in route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        let text = ObjectBuilder::new().schema_type(Type::String).build();
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path);
        out = out.parameter(parameter.required(Required::True).schema(Some(text)).build());
    }
    if route.need != Need::Public {
        out = out.security(SecurityRequirement::new::<_, [&str; 0], &str>(SCHEME, []));
    }
    out
}
