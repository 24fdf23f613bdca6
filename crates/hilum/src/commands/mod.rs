//! One file per noun; each command is a thin caller of the public API or of one library function.

pub mod approval;
pub mod audit;
mod browser;
pub mod check;
pub mod client;
pub mod conformance;
pub mod deid;
pub mod demo;
pub mod init;
pub mod integration;
pub mod key;
pub mod person;
pub mod policy;
pub mod registration;
pub mod role;
pub mod serve;
pub mod session;
pub mod task;
pub mod token;

use self::client::Client;
use crate::cli::{Cli, Command, Exit, Failure};

/// Runs one command.
pub async fn run(cli: Cli) -> Result<Exit, Failure> {
    let format = cli.output;
    let client = Client::new(&cli);
    match cli.command {
        Command::Demo(demo) => demo::run(demo, format).await,
        Command::Init(init) => init::run(init, format).await,
        Command::Serve { config } => serve::run(&config).await,
        Command::Check(check) => check::run(check, cli.tenant.as_deref(), format).await,
        Command::Login(login) => person::login(&client?, login).await,
        Command::Logout => person::logout(&client?).await,
        Command::Apply(apply) => integration::apply(&client?, apply, format).await,
        Command::Integration(command) => integration::run(&client?, command, format).await,
        Command::Task(command) => task::run(&client?, command, format).await,
        Command::Approval(command) => approval::run(&client?, command, format).await,
        Command::Session(command) => session::run(&client?, command, format).await,
        Command::Person(command) => person::run(&client?, command, format).await,
        Command::Key(command) => key::run(&client?, command, format).await,
        Command::Alert(command) => audit::alert(&client?, command, format).await,
        Command::Audit(command) => audit::run(&client, command, format).await,
        Command::Explain { id } => audit::explain(&client?, &id, format).await,
        Command::Role(command) => role::run(&client?, command, format).await,
        Command::Policy(command) => policy::run(&client, command, format).await,
        Command::Deid(command) => deid::run(command, format),
        Command::Conformance(asked) => conformance::run(asked, format).await,
        Command::Token(command) => token::run(command, format).await,
    }
}
