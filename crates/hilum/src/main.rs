//! `hilum`: the one gate through which AI systems reach patient records.

mod cli;
mod commands;
mod config;
mod manifest;
mod output;
mod words;

use std::process::ExitCode;

use clap::Parser as _;

/// A request makes many small allocations; this allocator takes a tenth off its cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(why) => {
            // Help and version are answers, not mistakes; clap prints both kinds where they belong.
            let _ = why.print();
            return if why.use_stderr() { cli::Exit::Usage.into() } else { cli::Exit::Done.into() };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => {
            output::note(&format!("hilum: cannot start: {why}"));
            return cli::Exit::Failed.into();
        }
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::note(&format!("{} {failure}", output::styled("1;31", "error:")));
            failure.exit.into()
        }
    }
}
