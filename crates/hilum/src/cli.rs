//! The command line: nouns, then verbs. What a command does is in its file under `commands/`.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::{
    approval, audit, check, deid, demo, init, integration, key, person, policy, role, session, task, token,
};
use crate::output::Format;

/// How the program ends (DESIGN, "Command line").
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// 0
    Done,
    /// 1: refused or failed
    Failed,
    /// 64: the command line is wrong
    Usage,
    /// 78: the configuration is wrong
    Configuration,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 64,
            Exit::Configuration => 78,
        })
    }
}

/// Why a command did not do its work, in words that say what to do.
#[derive(Debug)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    /// The gate's code for why, if it gave one; empty otherwise.
    pub reason: String,
    says: String,
}

impl Failure {
    /// Refused or failed.
    pub fn failed(says: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, reason: String::new(), says: says.into() }
    }

    /// The configuration is wrong.
    pub fn configuration(says: impl Into<String>) -> Self {
        Self { exit: Exit::Configuration, reason: String::new(), says: says.into() }
    }

    /// The command line is wrong.
    pub fn usage(says: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, reason: String::new(), says: says.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.says)
    }
}

/// Options that every command takes stand below its own.
const GLOBAL: &str = "Global options";

/// The one gate through which AI systems reach patient records
#[derive(Debug, Parser)]
#[command(
    name = "hilum",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Start here:  hilum demo            a guided tour on this machine, nothing to set up\n             hilum init gate       a gate of your own, in the folder `gate`\n\nExit codes: 0 done, 1 refused or failed, 64 usage, 78 configuration."
)]
pub struct Cli {
    /// How to print: a table for people, or json, one object per line
    #[arg(short = 'o', long = "output", global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT", help_heading = GLOBAL)]
    pub output: Format,
    /// Admin listener of the gate to talk to
    #[arg(long, global = true, env = "HILUM_ADMIN", default_value = "http://127.0.0.1:8444", value_name = "URL", help_heading = GLOBAL)]
    pub admin: String,
    /// File that `hilum login` keeps the session in [default: ~/.config/hilum/login]
    #[arg(long, global = true, env = "HILUM_LOGIN", value_name = "FILE", help_heading = GLOBAL)]
    pub login: Option<PathBuf>,
    /// Tenant to work in; may be left out when the gate has one
    #[arg(long, global = true, env = "HILUM_TENANT", value_name = "ID", help_heading = GLOBAL)]
    pub tenant: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the gate at work with a demonstration EHR and synthetic patients
    Demo(demo::Demo),
    /// Make a folder with configuration, root key, empty store and a first credential
    Init(init::Init),
    /// Run the gate
    #[command(after_help = "Example:  hilum serve --config gate/hilum.toml")]
    Serve {
        /// Configuration file
        #[arg(long, short = 'c', value_name = "FILE")]
        config: PathBuf,
    },
    /// Check the configuration, and prove what the upstream filters by
    Check(check::Check),
    /// Sign in; the session ends after 15 minutes idle
    #[command(
        after_help = "Examples:  hilum login dana@mercy.example\n           hilum login dana@mercy.example --browser    with a passkey"
    )]
    Login(person::Login),
    /// Sign out
    Logout,
    /// Declare integrations, task profiles and roles from a manifest; never approves
    #[command(
        after_help = "Examples:  hilum apply -f docs/examples/scheduling.toml --dry-run\n           hilum apply -f roles.yaml\n\nRoles of AI services (`ai_service_roles`) are YAML, everything else is TOML."
    )]
    Apply(integration::Apply),
    /// Registered AI systems and apps
    #[command(subcommand)]
    Integration(integration::Integration),
    /// Task profiles: named, versioned minimum scope sets
    #[command(subcommand)]
    Task(task::Task),
    /// Standing permissions, decided by a privacy officer
    #[command(subcommand)]
    Approval(approval::Approval),
    /// Sessions: one integration on one task for one patient
    #[command(subcommand)]
    Session(session::Session),
    /// People and their roles
    #[command(subcommand)]
    Person(person::Person),
    /// Token signing keys
    #[command(subcommand)]
    Key(key::Key),
    /// Alerts: things a person must look at
    #[command(subcommand)]
    Alert(audit::Alert),
    /// The ledger: search it, verify it
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Explain one record: who, why allowed, under which approval
    #[command(after_help = "Example:  hilum explain mercy/node-1/42")]
    Explain {
        /// Record id: tenant/node/index
        id: String,
    },
    /// Roles of AI services: what the integrations that name one may not do
    #[command(subcommand)]
    Role(role::Role),
    /// Organisation policies in Cedar: check a file, try it on cases
    #[command(subcommand)]
    Policy(policy::Policy),
    /// De-identification: try out what a profile lets through
    #[command(subcommand)]
    Deid(deid::Deid),
    /// Developer aid: get an access token as an integration would
    #[command(subcommand)]
    Token(token::Token),
}
