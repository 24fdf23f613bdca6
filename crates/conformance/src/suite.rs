//! The suite at work: the server under test, the fixtures it may use, and the rows in their order.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::areas;
use crate::areas::shown::{SHOWN, Shown};
use crate::config::{Audience, Client, Config, Person};
use crate::host::KeyHost;
use crate::http::{Answer, Http, Send};
use crate::jose::Key;
use crate::row::{Cases, Finding, Row, Stop};
use crate::target::Target;

/// Longest time for one row: a slow one waits six minutes for a ticket to expire.
const ROW_TIMEOUT: Duration = Duration::from_secs(600);

/// A client of the catalogue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Who {
    /// Public.
    Pub,
    /// `client_secret_basic`.
    Sym,
    /// `private_key_jwt`.
    Asy,
    /// `private_key_jwt`, keys behind a URL.
    Asyu,
    /// Backend services.
    Be,
    /// Mints launch handles.
    Launcher,
    /// A second client.
    Other,
    /// May ask about any token.
    Introspector,
}

impl Who {
    /// Its table in the configuration file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pub => "pub",
            Self::Sym => "sym",
            Self::Asy => "asy",
            Self::Asyu => "asyu",
            Self::Be => "be",
            Self::Launcher => "launcher",
            Self::Other => "other",
            Self::Introspector => "introspector",
        }
    }
}

/// A client with its keys read.
pub struct Fixture {
    /// As in the file.
    pub spec: Client,
    /// Its signing key.
    pub key: Option<Key>,
    /// Its secret.
    pub secret: Option<String>,
    /// Its proof key, if it must prove possession.
    pub proof: Option<Key>,
    /// The way it connects: with its certificate, if it has one.
    pub http: Http,
}

/// The server under test and all that may be used on it.
pub struct Suite {
    /// The server.
    pub target: Target,
    /// The file.
    pub config: Config,
    /// A client without a certificate.
    pub http: Http,
    /// Where ASYU's keys are served.
    pub host: Option<KeyHost>,
    clients: Vec<(Who, Fixture)>,
}

impl Suite {
    /// Reads keys, starts what must be served, and finds the server's documents.
    ///
    /// # Errors
    /// What is wrong with the files, or that there is no such server.
    pub async fn new(url: &str, config: Config) -> Result<Self, String> {
        let ca = config.ca.as_deref().map(file).transpose()?;
        let http = Http::new(ca.as_deref())?;
        let specs = &config.clients;
        let all = [
            (Who::Pub, &specs.public),
            (Who::Sym, &specs.sym),
            (Who::Asy, &specs.asy),
            (Who::Asyu, &specs.asyu),
            (Who::Be, &specs.be),
            (Who::Launcher, &specs.launcher),
            (Who::Other, &specs.other),
            (Who::Introspector, &specs.introspector),
        ];
        let mut clients = Vec::new();
        for (who, spec) in all.into_iter().filter_map(|(who, spec)| Some((who, spec.as_ref()?))) {
            let fixture = Fixture::read(spec, &http).map_err(|why| format!("`clients.{}`: {why}", who.name()))?;
            clients.push((who, fixture));
        }
        let host = match clients.iter().find(|(who, _)| *who == Who::Asyu) {
            Some((_, Fixture { spec: Client { jwks_port: Some(port), .. }, key: Some(key), .. })) => {
                Some(KeyHost::start(*port, key).await?)
            }
            _ => None,
        };
        let target = Target::discover(&http, url).await?;
        Ok(Self { target, config, http, host, clients })
    }

    /// Runs the rows whose id begins with `only` (all, without one) and those that show such a requirement, telling each finding
    /// as it is made.
    pub async fn run(&self, only: Option<&str>, mut tell: impl FnMut(&Finding)) -> Vec<Finding> {
        let chosen = |id: &str| only.is_none_or(|only| id.starts_with(only));
        let wanted: Vec<&Shown> = SHOWN.iter().filter(|shown| chosen(shown.id)).collect();
        let mut findings = Vec::new();
        for (area, row) in rows() {
            if !chosen(row.id) && !wanted.iter().any(|shown| shown.by.contains(&row.id)) {
                continue;
            }
            let finding = self.find(area, row).await;
            tell(&finding);
            findings.push(finding);
        }
        for shown in wanted {
            let finding = Finding::shown(shown, &findings);
            tell(&finding);
            findings.push(finding);
        }
        findings
    }

    /// Runs one row.
    pub async fn find(&self, area: &'static str, row: &Row) -> Finding {
        let mut cases = Cases::default();
        if let Some(host) = &self.host {
            host.reset();
        }
        let ended = match tokio::time::timeout(ROW_TIMEOUT, (row.check)(self, &mut cases)).await {
            Ok(ended) => ended,
            Err(_) => Err(Stop::Fail(format!("not done within {} seconds", ROW_TIMEOUT.as_secs()))),
        };
        Finding::new(area, row, cases, ended)
    }

    /// A client of the file.
    ///
    /// # Errors
    /// Skips the row when it is not there.
    pub fn client(&self, who: Who) -> Result<&Fixture, Stop> {
        let found = self.clients.iter().find(|(have, _)| *have == who);
        found
            .map(|(_, fixture)| fixture)
            .ok_or_else(|| Stop::Skip(format!("the configuration file has no [clients.{}]", who.name())))
    }

    /// The first of these clients that is there.
    ///
    /// # Errors
    /// Skips the row when none is.
    pub fn first(&self, of: &[Who]) -> Result<&Fixture, Stop> {
        of.iter().find_map(|who| self.client(*who).ok()).ok_or_else(|| {
            let names: Vec<String> = of.iter().map(|who| format!("[clients.{}]", who.name())).collect();
            Stop::Skip(format!("the configuration file has none of {}", names.join(", ")))
        })
    }

    /// Alice.
    ///
    /// # Errors
    /// Skips the row when she is not there.
    pub fn alice(&self) -> Result<&Person, Stop> {
        let alice = self.config.people.alice.as_ref();
        alice.ok_or_else(|| Stop::Skip("the configuration file has no [people.alice]".into()))
    }

    /// Bob.
    ///
    /// # Errors
    /// Skips the row when he is not there.
    pub fn bob(&self) -> Result<&Person, Stop> {
        let bob = self.config.people.bob.as_ref();
        bob.ok_or_else(|| Stop::Skip("the configuration file has no [people.bob]".into()))
    }

    /// P1's id.
    ///
    /// # Errors
    /// Skips the row when it is not told.
    pub fn p1(&self) -> Result<&str, Stop> {
        let id = self.config.patients.p1.as_deref();
        id.ok_or_else(|| Stop::Skip("the configuration file has no `patients.p1`".into()))
    }

    /// P2's id.
    ///
    /// # Errors
    /// Skips the row when it is not told.
    pub fn p2(&self) -> Result<&str, Stop> {
        let id = self.config.patients.p2.as_deref();
        id.ok_or_else(|| Stop::Skip("the configuration file has no `patients.p2`".into()))
    }

    /// An endpoint that the documents name.
    ///
    /// # Errors
    /// Skips the row when they do not; that it must be there is a row of its own.
    pub fn endpoint(&self, name: &str) -> Result<String, Stop> {
        self.target.endpoint(name).ok_or_else(|| Stop::Skip(format!("the discovery documents name no `{name}`")))
    }

    /// For rows that wait for something to expire.
    ///
    /// # Errors
    /// Skips the row unless the file says `slow = true`.
    pub fn slow(&self) -> Result<(), Stop> {
        if self.config.slow { Ok(()) } else { Err(Stop::Skip("waits for minutes; say `slow = true` to run it".into())) }
    }

    /// Sends without any client's certificate.
    ///
    /// # Errors
    /// Counts against the server when there is no answer.
    pub async fn send(&self, send: Send) -> Result<Answer, Stop> {
        Ok(self.http.send(send).await?)
    }

    /// What a client names as `aud` in its assertions.
    #[must_use]
    pub fn audience(&self, fixture: &Fixture) -> String {
        match fixture.spec.audience {
            Audience::TokenEndpoint => self.target.endpoint("token_endpoint").unwrap_or_default(),
            Audience::Issuer => self.target.issuer.clone(),
        }
    }
}

impl Fixture {
    fn read(spec: &Client, http: &Http) -> Result<Self, String> {
        let (alg, kid) = (spec.alg.as_deref(), spec.kid.as_deref());
        let key = match &spec.key {
            Some(path) => {
                Some(Key::read(&file(path)?, alg, kid).map_err(|why| format!("`{}`: {why}", path.display()))?)
            }
            None if spec.jwks_port.is_some() => Some(Key::generate(alg.unwrap_or("ES384"))?),
            None => None,
        };
        let secret = match &spec.secret_file {
            Some(path) => Some(String::from_utf8_lossy(&file(path)?).trim().to_owned()),
            None => None,
        };
        let http = match (&spec.certificate, &spec.certificate_key) {
            (Some(certificate), Some(key)) => http.with_certificate(&file(certificate)?, &file(key)?)?,
            _ => http.clone(),
        };
        let proof = if spec.dpop { Some(Key::generate("ES256")?) } else { None };
        Ok(Self { spec: spec.clone(), key, secret, proof, http })
    }
}

/// Every row with its area, in the order they run.
pub fn rows() -> impl Iterator<Item = (&'static str, &'static Row)> {
    areas::ALL.iter().flat_map(|(area, rows)| rows.iter().map(move |row| (*area, row)))
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn file(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|why| format!("`{}`: {why}", path.display()))
}
