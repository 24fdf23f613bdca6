//! The nouns of access: ids, scopes, integrations, roles, task profiles, approvals, sessions, reasons and audit records.
//!
//! Pure: `now` is always an argument, and nothing here touches a socket, a file or a clock.

pub mod approval;
pub mod audit;
pub mod budget;
pub mod class;
pub mod id;
pub mod integration;
pub mod person;
pub mod reason;
pub mod role;
pub mod scope;
pub mod session;
pub mod task;

pub use approval::{Approval, ApprovalStatus, ExportRule, FirstApproval, LaunchMode, RelationshipRule, Terms};
pub use budget::{Budget, Budgets, Limits};
pub use class::{Class, ClassRefusal, Presence};
pub use id::{
    ApprovalId, EnvironmentName, ExportId, IntegrationId, InvalidName, Millis, Permission, PersonId, RoleName,
    SessionId, TaskName, TenantId,
};
pub use integration::{
    AssertionAudience, AuthMethod, CertificateSubject, ClientAuth, Demand, Environment, Integration, IntegrationStatus,
    Introspects, Keys, Owners, SecretException,
};
pub use person::{Person, Role};
pub use reason::Reason;
pub use role::{Export, Mfa, PhiAccess, RoleRefusal, ServiceRole, Timeout};
pub use scope::{Actions, Filter, Level, RequestedScope, ResourceMatch, Scope, ScopeSet, ScopeWord};
pub use session::{Actor, Confirmation, LaunchKind, Session, Subject};
pub use task::{Operation, SenderConstraint, TaskProfile, TaskRef};
