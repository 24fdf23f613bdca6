//! Signing in by way of a page of the gate: a code to compare, the page, and asking until the person has said yes.

use std::process::{Command, Stdio};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::client::Client;
use crate::cli::Failure;
use crate::output;

/// Longest pause between two questions, whatever the gate asks for.
const PAUSE_MAX: u64 = 30;

/// Asks the gate, shows code and address, opens the page if it can, and gives what the gate sends in the end.
pub async fn sign_in(client: &Client, person: Option<&str>) -> Result<Value, Failure> {
    let body = person.map_or_else(|| json!({}), |person| json!({ "person": person }));
    let asked = post(client, "/login/requests", body).await?;
    let text = |name: &str| asked.get(name).and_then(Value::as_str);
    let (Some(secret), Some(code), Some(url)) = (text("secret"), text("code"), text("url")) else {
        return Err(Failure::failed("the gate sent no page to sign in on"));
    };
    let seconds = |name: &str| asked.get(name).and_then(Value::as_u64).unwrap_or(2).clamp(1, PAUSE_MAX);
    let who = person.map_or_else(String::new, |person| format!(" as {person}"));
    output::note(&format!("open this page and sign in{who}:\n  {url}"));
    output::note(&format!("it must show this code:  {}", output::styled("1", code)));
    open(url);
    let pause = Duration::from_secs(seconds("interval_seconds"));
    loop {
        tokio::time::sleep(pause).await;
        let answer = post(client, "/login/token", json!({ "secret": secret })).await?;
        if answer.get("token").is_some() {
            return Ok(answer);
        }
    }
}

async fn post(client: &Client, path: &str, body: Value) -> Result<Value, Failure> {
    client.call_as(Method::POST, path, Some(("application/json", body.to_string())), None).await
}

/// Has the desktop open the page, where there is one. The address is the gate's own word, so only a web address is opened, and as one
/// argument of a program, never through a shell.
fn open(url: &str) {
    let web = url.starts_with("https://") || url.starts_with("http://localhost");
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let desktop = cfg!(target_os = "macos")
        || std::env::var_os("DISPLAY").is_some()
        || std::env::var_os("WAYLAND_DISPLAY").is_some();
    if !web || !desktop || cfg!(windows) {
        return;
    }
    let mut command = Command::new(program);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Waited for apart, so that nothing is left of it. The address is printed already; a desktop that does not open it loses nothing.
    std::thread::spawn(move || command.status());
}
