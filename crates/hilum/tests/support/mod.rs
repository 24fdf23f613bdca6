//! A gate run by the built binary in front of an in-process demonstration EHR, and people at its command line.
#![allow(dead_code, reason = "each test file uses its part")]

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

/// Passphrases of the people; none may ever be printed.
pub const DANA: &str = "canary-passphrase-of-dana";
pub const OMAR: &str = "canary-passphrase-of-omar";
pub const ANN: &str = "canary-passphrase-of-ann";

/// A command that takes longer than this hangs; a loaded machine is far below.
const WAIT_MAX_MILLIS: u64 = 60_000;

/// What a command did.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// It ended with this code, and said this (on either stream).
    #[track_caller]
    pub fn ends(self, code: i32, says: &str) -> Self {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert!(self.out.contains(says) || self.err.contains(says), "`{says}` is not in:\n{}{}", self.out, self.err);
        self
    }

    /// Its lines as JSON, one object each.
    #[track_caller]
    pub fn rows(&self) -> Vec<Value> {
        assert_eq!(self.code, 0, "{}", self.err);
        let rows: Vec<Value> = self.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        assert!(rows.iter().all(Value::is_object), "{rows:?}");
        rows
    }
}

/// Runs the binary without a gate.
pub fn hilum(folder: &Path, arguments: &[&str]) -> Ran {
    run(folder, arguments, "", &[])
}

/// The same with something on its standard input.
pub fn hilum_fed(folder: &Path, arguments: &[&str], stdin: &str) -> Ran {
    run(folder, arguments, stdin, &[])
}

fn run(folder: &Path, arguments: &[&str], stdin: &str, environment: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hilum"));
    command.current_dir(folder).args(arguments).env_remove("HILUM_TENANT").env("HOME", folder);
    command.env_remove("XDG_CONFIG_HOME").env_remove("HILUM_ADMIN").env_remove("HILUM_LOGIN");
    command.envs(environment.iter().copied());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    // A command that reads nothing closes its end; that is its right.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let (out, err) = (read_apart(child.stdout.take().unwrap()), read_apart(child.stderr.take().unwrap()));
    let mut waited = 0;
    let ended = loop {
        match child.try_wait().unwrap() {
            Some(ended) => break ended,
            None if waited < WAIT_MAX_MILLIS => {
                waited += 10;
                std::thread::sleep(Duration::from_millis(10));
            }
            None => {
                let _ = child.kill();
                panic!("{arguments:?} does not end:\n{}{}", out.join().unwrap(), err.join().unwrap());
            }
        }
    };
    Ran { code: ended.code().expect("it ended by itself"), out: out.join().unwrap(), err: err.join().unwrap() }
}

/// Reads a stream to its end on a thread of its own, so that neither stream blocks the other.
fn read_apart(mut stream: impl std::io::Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("UTF-8");
        text
    })
}

/// A port that is free, below the range that the system gives to clients, and given out once in this process.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 10_000).unwrap();
    loop {
        let port = 15_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 15_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Everything of one story.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub ehr: demo_ehr::Running,
    pub credential: String,
    pub public: String,
    admin: String,
    gate: Option<(Child, BufReader<ChildStderr>)>,
    said: RefCell<String>,
    // The EHR lives on it; last, so that it goes last.
    _runtime: tokio::runtime::Runtime,
}

impl Place {
    /// An EHR, and `hilum init` for a gate in front of it.
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let ehr = demo_ehr::DemoEhr::new(1, 50, 1_795_000_000_000);
        let ehr = runtime.block_on(ehr.start("127.0.0.1:0".parse().unwrap())).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (public, admin) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
        let init = ["init", "gate", "--tenant", "mercy", "--name", "Mercy Health", "--upstream", &ehr.base_url];
        let listen = ["--listen", &public, "--admin-listen", &admin];
        let made = run(folder.path(), &[init.as_slice(), &listen].concat(), "", &[]);
        assert_eq!(made.code, 0, "{}", made.err);
        let credential = made.out.trim().to_owned();
        Self {
            folder,
            ehr,
            credential,
            public: format!("http://{public}"),
            admin: format!("http://{admin}"),
            gate: None,
            said: RefCell::default(),
            _runtime: runtime,
        }
    }

    /// Runs a command, with lines on standard input.
    pub fn hilum_with(&self, arguments: &[&str], stdin: &str) -> Ran {
        let ran = run(self.folder.path(), arguments, stdin, &[("HILUM_ADMIN", &self.admin)]);
        self.said.borrow_mut().push_str(&ran.out);
        self.said.borrow_mut().push_str(&ran.err);
        ran
    }

    /// Runs a command.
    pub fn hilum(&self, arguments: &[&str]) -> Ran {
        self.hilum_with(arguments, "")
    }

    /// Starts the gate and waits until it says that it is ready.
    pub fn serve(&mut self) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hilum"))
            .current_dir(self.folder.path())
            .args(["serve", "--config", "gate/hilum.toml"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let (mut all, mut line) = (String::new(), String::new());
        while !line.contains("is ready") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "the gate did not start:\n{all}");
            all.push_str(&line);
        }
        self.gate = Some((child, said));
    }

    /// Asks the gate to end, as a service manager does, and waits for it.
    pub fn stop(&mut self) {
        let (mut child, _said) = self.gate.take().expect("it runs");
        let asked = Command::new("sh").args(["-c", &format!("kill -TERM {}", child.id())]).status().unwrap();
        assert!(asked.success());
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }

    /// Kills it where it stands (SIGKILL).
    pub fn kill(&mut self) {
        let (mut child, _said) = self.gate.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn login(&self, person: &str, passphrase: &str) {
        self.hilum_with(&["login", person], &format!("{passphrase}\n")).ends(0, "signed in");
    }

    /// A token of the scheduling agent for `patient`.
    pub fn token(&self, patient: &str) -> Ran {
        let issuer = format!("{}/mercy", self.public);
        self.hilum(&[
            "token",
            "get",
            "--issuer",
            &issuer,
            "--client",
            "scheduler-1",
            "--key",
            "gate/scheduler.pem",
            "--launcher",
            "desk-1",
            "--launcher-key",
            "gate/desk.pem",
            "--task",
            "scheduling",
            "--patient",
            patient,
            "--bare",
        ])
    }

    /// `GET {fhir}/{path}`: status and body.
    pub fn fhir(&self, path: &str, token: &str) -> (u16, String) {
        let host = self.public.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).unwrap();
        let head = format!("GET /mercy/fhir/{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        write!(stream, "{head}Authorization: Bearer {}\r\n\r\n", token.trim()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
        (status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
    }

    /// Nothing that opens a door was printed by any command so far.
    pub fn nothing_leaked(&self) {
        let said = self.said.borrow();
        for secret in [DANA, OMAR, ANN, self.credential.as_str(), "PRIVATE KEY"] {
            assert!(!said.contains(secret), "a secret was printed");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((mut child, _)) = self.gate.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The day that many days from now.
pub fn day(days: i64) -> String {
    let then = time::OffsetDateTime::now_utc() + time::Duration::days(days);
    then.date().to_string()
}
