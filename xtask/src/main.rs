//! `cargo xtask check`: format, lints, documentation, and what may be in the dependency graph.

use std::io::Write;
use std::process::{Command, ExitCode, Stdio};

/// Crates that must not be in what ships: one TLS stack and one crypto provider, both ours to choose (`deny.toml` has
/// the same list; this check needs no extra tool).
const BANNED: &[&str] = &["ring", "openssl-sys", "native-tls", "rsa"];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("check"), None) => check(),
        _ => {
            say("usage: cargo xtask check");
            ExitCode::from(64)
        }
    }
}

fn check() -> ExitCode {
    let passed = run("fmt", &["fmt", "--all", "--check"], &[])
        & run("clippy", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[])
        & run("doc", &["doc", "--workspace", "--no-deps", "--locked"], &[("RUSTDOCFLAGS", "-D warnings")])
        & banned()
        & deny();
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs `cargo` with `arguments`; whether it succeeded.
fn run(what: &str, arguments: &[&str], environment: &[(&str, &str)]) -> bool {
    say(&format!("check: {what}"));
    let done = cargo(arguments).envs(environment.iter().copied()).status();
    let passed = done.is_ok_and(|status| status.success());
    if !passed {
        say(&format!("check: {what} failed"));
    }
    passed
}

/// No banned crate is reachable by normal or build dependencies, whatever the target; `Cargo.lock` may still list one
/// that is optional and off.
fn banned() -> bool {
    say("check: banned crates");
    let tree =
        ["tree", "--workspace", "--locked", "-e", "normal,build", "--target", "all", "--prefix", "none", "-f", "{p}"];
    let Ok(output) = cargo(&tree).stderr(Stdio::inherit()).output() else { return false };
    if !output.status.success() {
        return false;
    }
    let listed = String::from_utf8_lossy(&output.stdout);
    let mut passed = true;
    for name in BANNED {
        if listed.lines().any(|line| line.split(' ').next() == Some(name)) {
            say(&format!("check: `{name}` must not be a dependency; see `cargo tree -i {name}`"));
            passed = false;
        }
    }
    passed
}

/// `cargo deny`, where it is installed. Advisories need the network and are left to whoever has it.
fn deny() -> bool {
    let installed = cargo(&["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !installed.is_ok_and(|status| status.success()) {
        say("check: cargo-deny is not installed; skipped (`cargo install cargo-deny`)");
        return true;
    }
    run("deny", &["deny", "--offline", "check", "bans", "licenses", "sources"], &[])
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
