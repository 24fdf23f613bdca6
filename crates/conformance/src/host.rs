//! The controllable key host of the catalogue: serves ASYU's key set on loopback, as a row wants it served.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::jose::Key;

/// Longest request head read; a GET of a key set is a tenth of it.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How the next requests are answered.
#[derive(Clone, Debug)]
pub struct Serve {
    /// Status and reason.
    pub status: String,
    /// Headers beside `Content-Length`, each with its line end.
    pub headers: String,
    /// The body.
    pub body: String,
}

struct State {
    usual: Value,
    serve: Serve,
    /// The heads of the requests since the last reset.
    heads: Vec<String>,
}

/// A running host; stops with the suite.
pub struct KeyHost {
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for KeyHost {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn usual(set: &Value) -> Serve {
    // `max-age=1`, so that what one row serves does not last into the next for longer than that.
    let headers = "Content-Type: application/json\r\nCache-Control: max-age=1\r\n".to_owned();
    Serve { status: "200 OK".into(), headers, body: set.to_string() }
}

impl KeyHost {
    /// Serves `key` at `http://127.0.0.1:{port}/jwks.json`.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(port: u16, key: &Key) -> Result<Self, String> {
        let set = json!({ "keys": [key.jwk()] });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let listener = listener.map_err(|why| format!("`jwks_port` {port}: {why}"))?;
        let state = State { serve: usual(&set), usual: set, heads: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { state, task })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The usual set again, and no requests counted.
    pub fn reset(&self) {
        let mut state = self.state();
        state.serve = usual(&state.usual);
        state.heads.clear();
    }

    /// Answers so from now on.
    pub fn serve(&self, serve: Serve) {
        self.state().serve = serve;
    }

    /// Serves this set with this `Cache-Control` from now on.
    pub fn serve_set(&self, set: &Value, cache_control: &str) {
        let headers = format!("Content-Type: application/json\r\nCache-Control: {cache_control}\r\n");
        self.serve(Serve { status: "200 OK".into(), headers, body: set.to_string() });
    }

    /// The heads of the requests since the row began.
    #[must_use]
    pub fn heads(&self) -> Vec<String> {
        self.state().heads.clone()
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let mut head = Vec::new();
            let mut block = [0_u8; 1024];
            while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
                match stream.read(&mut block).await {
                    Ok(read) if read > 0 => head.extend(block.iter().take(read)),
                    _ => return,
                }
            }
            let text = {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                state.heads.push(String::from_utf8_lossy(&head).into_owned());
                let Serve { status, headers, body } = &state.serve;
                format!(
                    "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                )
            };
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
        });
    }
}
