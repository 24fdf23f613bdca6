//! The configuration file: TOML, one documented struct per section, every mistake reported at once with its line.

mod ehr;
mod people;
mod reference;
mod section;
mod tenant;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use server::settings::{ListenSettings, OidcSettings, OutboundSettings, Settings, TenantSettings, TlsFiles};
use toml::de::DeTable;

pub use section::Mistake;
use section::{At, Mistakes, Section};

/// A configuration that can be started with.
#[derive(Debug)]
pub struct Config {
    /// What the server is told.
    pub settings: Settings,
    /// `[vault] root`: the file of the root key.
    pub root_key: PathBuf,
}

/// The file could not be used; each line names the place and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ReadConfigError {
    /// The file cannot be read.
    #[error("cannot read `{}`: {why}; `hilum init DIR` makes a configuration", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        why: std::io::Error,
    },
    /// It has mistakes: all of them.
    #[error("{}", report(path, mistakes))]
    Mistakes {
        /// Which file.
        path: PathBuf,
        /// Each with its line.
        mistakes: Vec<Mistake>,
    },
}

fn report(path: &Path, mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes
        .iter()
        .map(|mistake| match mistake.line {
            0 => mistake.what.clone(),
            line => format!("{}:{line}: {}", path.display(), mistake.what),
        })
        .collect();
    lines.join("\n")
}

/// Reads and checks the file at `path`.
///
/// # Errors
/// Every mistake at once, with file and line.
pub fn read(path: &Path) -> Result<Config, ReadConfigError> {
    let text = std::fs::read_to_string(path).map_err(|why| ReadConfigError::File { path: path.to_owned(), why })?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    parse(&text, folder, std::env::vars())
        .map_err(|mistakes| ReadConfigError::Mistakes { path: path.to_owned(), mistakes })
}

/// Checks `text`; `folder` is where relative paths start, `environment` is searched for secrets (S0-01).
///
/// # Errors
/// Every mistake at once.
pub fn parse(
    text: &str,
    folder: &Path,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Config, Vec<Mistake>> {
    let mistakes = Mistakes::new(text);
    for name in reference::environment_secrets(environment) {
        mistakes.add_elsewhere(format!(
            "the environment variable `{name}` looks like a secret; put it in a file and refer to it as file:PATH"
        ));
    }
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(why) => {
            mistakes.add(why.span().map_or(0, |span| span.start), why.message().to_owned());
            return Err(mistakes.into_list());
        }
    };
    let config = whole(&Section::root(&table, &mistakes), folder);
    let found = mistakes.into_list();
    match config {
        Some(config) if found.is_empty() => Ok(config),
        _ => Err(found),
    }
}

fn whole(root: &Section<'_, '_>, folder: &Path) -> Option<Config> {
    let server = root
        .required_section("server", "{ listen = \"127.0.0.1:8443\", public_url = \"http://127.0.0.1:8443\" }")
        .and_then(|s| server(&s, folder));
    let store =
        root.required_section("store", "{ url = \"sqlite:/var/lib/hilum/hilum.db\" }").and_then(|s| store(&s, folder));
    let ledger = root.required_section("ledger", "{ dir = \"/var/lib/hilum/ledger\" }").and_then(|s| {
        let dir = s.required("dir", "\"/var/lib/hilum/ledger\"").map(|dir| folder.join(dir.value));
        s.finish();
        dir
    });
    let vault = root.required_section("vault", "{ root = \"file:/etc/hilum/root.key\" }").and_then(|s| {
        let root = s.required("root", "\"file:/etc/hilum/root.key\"").and_then(|at| {
            let path = reference::file(&s, &at, folder)?;
            root_key_place(&s, &at, &path, ledger.as_deref());
            Some(path)
        });
        s.finish();
        root
    });
    let outbound = outbound(root.section("outbound").as_ref(), folder);
    let admin = admin(root.section("admin").as_ref(), folder, &outbound);
    let public_url = server.as_ref().map(|server| server.public_url.clone());
    let mut seen = BTreeSet::new();
    let mut tenants: Vec<TenantSettings> = Vec::new();
    let sections = root.sections("tenant");
    if sections.is_empty() {
        root.mistake("no tenant: write a `[[tenant]]` with `id`, `name` and `[tenant.upstream]`");
    }
    for section in &sections {
        if let Some(tenant) = tenant::read(section, folder, public_url.as_deref(), &outbound) {
            if !seen.insert(tenant.id.clone()) {
                section.mistake(format!("tenant `{}` is there twice", tenant.id));
            }
            tenants.push(tenant);
        }
    }
    root.finish();
    let server = server?;
    Some(Config {
        settings: Settings {
            host: server.public_url.split_once("://").map_or_else(String::new, |(_, host)| host.to_owned()),
            public: server.listen,
            admin_url: admin.as_ref()?.url.clone(),
            admin_identity: admin.as_ref()?.identity.clone(),
            admin: admin?.listen,
            store_url: store?,
            spool_dir: ledger.as_ref()?.with_file_name("spool"),
            ledger_dir: ledger?,
            node: server.node,
            outbound,
            tenants,
        },
        root_key: vault?,
    })
}

struct ServerPart {
    listen: ListenSettings,
    public_url: String,
    node: String,
}

/// `[server]`: `listen`, `public_url`, `tls`, `node`.
fn server(section: &Section<'_, '_>, folder: &Path) -> Option<ServerPart> {
    let listen = section.required("listen", "\"0.0.0.0:8443\"").and_then(|at| address(section, &at));
    let public_url =
        section.required("public_url", "\"https://gate.mercy.example\"").and_then(|at| public_url(section, &at));
    let tls = tls(section, folder);
    let node = section.text("node");
    if let Some(node) = &node
        && (node.value.is_empty()
            || node.value.len() > 40
            || !node.value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'))
    {
        section.mistake_at(node, "`server.node` must be 1 to 40 of a-z, 0-9, `-`");
    }
    section.finish();
    let listen = listen_settings(section, listen?, tls, "server")?;
    Some(ServerPart { listen, public_url: public_url?, node: node.map_or_else(|| "node-1".into(), |at| at.value) })
}

struct AdminPart {
    listen: ListenSettings,
    url: Option<String>,
    identity: Option<OidcSettings>,
}

/// `[admin]`: `listen`, `public_url`, `tls`, `identity`; by default on loopback.
fn admin(section: Option<&Section<'_, '_>>, folder: &Path, outbound: &OutboundSettings) -> Option<AdminPart> {
    let default = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8444);
    let Some(section) = section else {
        return Some(AdminPart { listen: ListenSettings { listen: default, tls: None }, url: None, identity: None });
    };
    let listen = match section.text("listen") {
        Some(at) => address(section, &at),
        None => Some(default),
    };
    // Absent is fine; there and wrong is not.
    let url = section.text("public_url").map(|at| admin_url(section, &at));
    let tls = tls(section, folder);
    let identity = section.section("identity").map(|section| people::identity(&section, folder, outbound));
    section.finish();
    let listen = listen_settings(section, listen?, tls, "admin")?;
    let url = url.map_or(Some(None), |url| url.map(Some))?;
    Some(AdminPart { listen, url, identity: identity.map_or(Some(None), |identity| identity.map(Some))? })
}

/// Where browsers find the admin listener. Passkeys are bound to the name in it.
fn admin_url(section: &Section<'_, '_>, at: &At<String>) -> Option<String> {
    let origin = server::console::Origin::parse(&at.value);
    if origin.is_none() {
        section.mistake_at(
            at,
            format!(
                "`{}` must be https://NAME[:PORT], or http://localhost[:PORT], without a path: passkeys are bound to a name, and browsers take no address for one (write localhost for 127.0.0.1)",
                at.value
            ),
        );
    }
    origin.map(|origin| origin.url().to_owned())
}

fn listen_settings(
    section: &Section<'_, '_>,
    listen: SocketAddr,
    tls: Option<TlsFiles>,
    name: &str,
) -> Option<ListenSettings> {
    if tls.is_none() && !listen.ip().is_loopback() {
        section.mistake(format!("`{name}.tls` is missing: only a loopback address may be served without TLS"));
        return None;
    }
    Some(ListenSettings { listen, tls })
}

fn tls(section: &Section<'_, '_>, folder: &Path) -> Option<TlsFiles> {
    let tls = section.section("tls")?;
    let certificate =
        tls.required("certificate", "\"file:/etc/hilum/tls.pem\"").and_then(|at| reference::file(&tls, &at, folder));
    let key = tls.required("key", "\"file:/etc/hilum/tls.key\"").and_then(|at| reference::file(&tls, &at, folder));
    tls.finish();
    Some(TlsFiles { certificate: certificate?, key: key? })
}

/// `[store]`: `url`.
fn store(section: &Section<'_, '_>, folder: &Path) -> Option<String> {
    let url = section.required("url", "\"sqlite:/var/lib/hilum/hilum.db\"");
    section.finish();
    let url = url?;
    if let Some(path) = url.value.strip_prefix("sqlite:") {
        if path.is_empty() || path.starts_with("//") {
            section.mistake_at(&url, "write the database as sqlite:PATH");
            return None;
        }
        return Some(format!("sqlite:{}", folder.join(path).display()));
    }
    section.mistake_at(&url, "`store.url` must be sqlite:PATH (PostgreSQL comes with a later release)");
    None
}

/// `[outbound]`: `allow_private`, `ca`.
fn outbound(section: Option<&Section<'_, '_>>, folder: &Path) -> OutboundSettings {
    let Some(section) = section else { return OutboundSettings::default() };
    let hosts = section.texts("allow_private").unwrap_or_default();
    for host in &hosts {
        if host.value.is_empty() || host.value.contains(['/', ':', '@', '*']) && host.value.parse::<IpAddr>().is_err() {
            section.mistake_at(
                host,
                format!("`{}` must be a host name or an address, without scheme and port", host.value),
            );
        }
    }
    let ca = section.text("ca").and_then(|at| reference::file(section, &at, folder));
    section.finish();
    OutboundSettings { allow_private: hosts.into_iter().map(|at| at.value.to_ascii_lowercase()).collect(), ca }
}

fn address(section: &Section<'_, '_>, at: &At<String>) -> Option<SocketAddr> {
    let parsed = at.value.parse().ok();
    if parsed.is_none() {
        section.mistake_at(at, format!("`{}` must be address and port, e.g. 0.0.0.0:8443", at.value));
    }
    parsed
}

/// A scheme and authority: https, or http on loopback; no path, query or user.
pub(crate) fn public_url(section: &Section<'_, '_>, at: &At<String>) -> Option<String> {
    let url = at.value.trim_end_matches('/');
    let fits = match url.split_once("://") {
        Some(("https", host)) => plain_host(host),
        Some(("http", host)) => plain_host(host) && loopback(host),
        _ => false,
    };
    if !fits {
        section.mistake_at(
            at,
            format!("`{}` must be https://HOST[:PORT] (http on loopback only), without a path", at.value),
        );
    }
    fits.then(|| url.to_owned())
}

fn plain_host(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'))
}

/// Whether `HOST[:PORT]` is this machine itself.
pub(crate) fn loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Refused if others can read it or if it lies inside the data folder (DESIGN, `[vault]`).
fn root_key_place(section: &Section<'_, '_>, at: &At<String>, path: &Path, ledger: Option<&Path>) {
    if let Some(ledger) = ledger
        && (path.starts_with(ledger)
            || ledger.parent().is_some_and(|data| data != Path::new("") && path.parent() == Some(data)))
    {
        section.mistake_at(
            at,
            "the root key lies inside the data folder; a backup of the data would carry the key that opens it",
        );
    }
    #[cfg(unix)]
    if let Ok(meta) = std::fs::metadata(path) {
        use std::os::unix::fs::PermissionsExt as _;
        if meta.permissions().mode() & 0o077 != 0 {
            section.mistake_at(at, format!("`{}` can be read by others; run chmod 600 on it", path.display()));
        }
    }
}

#[cfg(test)]
mod tests;
