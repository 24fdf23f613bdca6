//! What the API takes, for its OpenAPI document. Reading is in `read.rs`: it finds every mistake at once.
#![expect(dead_code, reason = "these types are schemas: they describe bodies and never hold one")]

use utoipa::ToSchema;

/// `POST /login`.
#[derive(ToSchema)]
pub(super) struct LoginBody {
    /// Person id, e.g. `dana@mercy.example`.
    person: String,
    /// Their passphrase.
    passphrase: String,
}

/// `POST /login/requests`.
#[derive(ToSchema)]
pub(super) struct AskLoginBody {
    /// Person id of who will say yes on the page.
    person: String,
}

/// `POST /login/token`.
#[derive(ToSchema)]
pub(super) struct FetchLoginBody {
    /// The secret that `POST /login/requests` gave.
    secret: String,
}

/// A role in a tenant; without one, in every tenant.
#[derive(ToSchema)]
pub(super) struct RoleShape {
    /// Tenant id; absent or null is every tenant.
    tenant: Option<String>,
    /// `operator`, `privacy-officer` or `auditor`.
    role: String,
}

/// `POST /people`.
#[derive(ToSchema)]
pub(super) struct NewPersonBody {
    /// Person id, with an `@`.
    id: String,
    /// For people.
    name: String,
    /// At least 15 characters.
    passphrase: String,
    /// First roles.
    roles: Vec<RoleShape>,
}

/// `POST /init`.
#[derive(ToSchema)]
pub(super) struct InitBody {
    /// The credential that `hilum init` printed.
    credential: String,
    /// 1 to 20 people.
    people: Vec<NewPersonBody>,
}

/// `POST /me/passphrase`.
#[derive(ToSchema)]
pub(super) struct PassphraseBody {
    /// The passphrase until now.
    old: String,
    /// The new one, at least 15 characters.
    new: String,
}

/// Why something is switched; the record keeps it.
#[derive(ToSchema)]
pub(super) struct ReasonBody {
    /// 1 to 1000 bytes.
    reason: String,
}

/// `POST …/approvals`.
#[derive(ToSchema)]
pub(super) struct AskBody {
    /// For which integration.
    integration: String,
    /// For which task, e.g. `scheduling@1`.
    task: String,
    /// Why.
    justification: String,
    /// `launch` (`{"mode":"ticket"}` or a relationship rule), `token_seconds`, `budgets`.
    #[schema(value_type = Object)]
    terms: String,
}

/// `POST …/approve`.
#[derive(ToSchema)]
pub(super) struct ApproveBody {
    /// Last day (`2027-06-30`) or RFC 3339 time it is in force.
    until: String,
    /// The digest that was read; if sent, exactly that is approved or nothing.
    digest: Option<String>,
}
