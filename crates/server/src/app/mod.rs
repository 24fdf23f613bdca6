//! The running server: parts wired together, requests sent to the part that owns their path.

mod check;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::response::IntoResponse;
use domain::TenantId;
use http::{Request, Response, StatusCode};
use http_body_util::Either;
use hyper::body::Incoming;
use store::Store;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;
use vault::RootKey;

use crate::audit::Audit;
use crate::authorize::cors::{self, CrossOrigin};
use crate::authorize::{self, Authorize};
use crate::broker::Broker;
use crate::clock::Clock;
use crate::console::Origin;
use crate::gate::{Gate, GateBody};
use crate::identity::IdentityProvider;
use crate::keys::KeyRing;
use crate::listen::{ListenError, Listener};
use crate::outbound::Outbound;
use crate::registry::{AdminProvider, Registry};
use crate::settings::{OidcSettings, Settings, SignIn};
use crate::spool::Spools;

/// What large answers may take of the disk together: forty of 100 MB.
const SPOOL_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

pub use check::{CheckError, Checked, Extent, check, check_identity, ledger_key};

/// Why the server does not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened.
    #[error("store: {0}")]
    Store(#[from] store::OpenError),
    /// The keys cannot be opened: wrong root key, or a damaged row.
    #[error("keys: {0}")]
    Keys(#[from] crate::keys::KeyError),
    /// The ledger refuses to open.
    #[error("ledger: {0}")]
    Ledger(#[from] crate::audit::OpenLedgerError),
    /// The registry cannot be read.
    #[error("registry: {0}")]
    Registry(#[from] crate::registry::OpenRegistryError),
    /// The upstream's credentials cannot be read.
    #[error("broker: {0}")]
    Broker(#[from] crate::broker::OpenBrokerError),
    /// People cannot sign in as configured.
    #[error(transparent)]
    Authorize(#[from] crate::authorize::OpenAuthorizeError),
    /// An identity provider cannot be used.
    #[error("identity provider: {0}")]
    Identity(#[from] crate::identity::OpenIdentityError),
    /// Outgoing connections cannot be made.
    #[error("outbound: {0}")]
    Outbound(#[from] crate::outbound::OpenOutboundError),
    /// A listener cannot start.
    #[error("{0}")]
    Listen(#[from] ListenError),
    /// The folder for large answers cannot be made.
    #[error("spool folder: {0}")]
    Spool(std::io::Error),
}

/// Every part, for those who embed the server (the demo, tests).
#[derive(Clone)]
pub struct Parts {
    /// Database.
    pub store: Store,
    /// Keys.
    pub keys: KeyRing,
    /// Ledger.
    pub audit: Audit,
    /// Registry.
    pub registry: Registry,
    /// The FHIR gate.
    pub gate: Arc<Gate>,
}

/// A server under way; dropping it does not stop it, [`Running::stop`] does.
pub struct Running {
    /// Where FHIR and OAuth are served.
    pub public: SocketAddr,
    /// Where `/api/v1` is served.
    pub admin: SocketAddr,
    /// The parts.
    pub parts: Parts,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Lets requests under way finish, and changes also where nobody waits for them; then closes the ledger.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = task.await;
        }
        self.parts.gate.close().await;
        self.parts.audit.close().await;
        // Connections that close by themselves do so later, while someone may already be reading or moving the files.
        self.parts.store.close().await;
    }
}

/// Opens everything in the order that lets each part refuse: listeners are bound last and serve at once.
///
/// # Errors
/// [`StartError`]: nothing is left running.
pub async fn start(settings: Settings, root: &RootKey, clock: Clock) -> Result<Running, StartError> {
    crate::listen::install_crypto();
    let tenant_ids: Vec<TenantId> = settings.tenants.iter().map(|tenant| tenant.id.clone()).collect();
    let store = Store::open(&settings.store_url).await?;
    let keys = KeyRing::load(root, &store, &tenant_ids, clock.now()).await?;
    let audit = Audit::open(&settings.ledger_dir, &settings.node, &settings.host, keys.clone(), clock.clone()).await?;
    let registry = Registry::open(store.clone(), &settings.tenants, audit.clone(), keys.clone(), clock.clone()).await?;
    std::fs::create_dir_all(&settings.spool_dir).map_err(StartError::Spool)?;
    let broker = Broker::new(&settings.tenants, &settings.outbound, keys.clone(), clock.clone())?
        .spooling(Spools::new(&settings.spool_dir, SPOOL_BYTES_MAX));
    let providers = admin_providers(&settings, &clock)?;
    let authorize = Authorize::new(
        &settings.tenants,
        store.clone(),
        registry.clone(),
        keys.clone(),
        audit.clone(),
        broker.clone(),
        clock.clone(),
    )?;
    let idle_clock = clock.clone();
    let gate = Arc::new(Gate::new(
        clock,
        registry.clone(),
        &authorize,
        keys.clone(),
        audit.clone(),
        broker.clone(),
        &settings.tenants,
    ));
    let parts = Parts { store, keys, audit, registry, gate };
    let public = Listener::bind(&settings.public).await?.asking_for_certificates();
    let admin = Listener::bind(&settings.admin).await?;
    let address = |listener: &Listener, asked: SocketAddr| listener.address().unwrap_or(asked);
    let (public_at, admin_at) = (address(&public, settings.public.listen), address(&admin, settings.admin.listen));
    if let Some(origin) = console_origin(settings.admin_url.as_deref(), admin_at) {
        parts.registry.serve_console(origin);
    }
    parts.registry.serve_providers(providers);
    let (stop, stopped) = watch::channel(false);
    let tasks = vec![
        tokio::spawn(broker.end_grants(parts.registry.clone(), parts.audit.clone(), stopped.clone())),
        tokio::spawn(serve_public(public, Arc::clone(&parts.gate), authorize.router(), stopped.clone())),
        tokio::spawn(serve_admin(admin, parts.clone(), stopped.clone())),
        tokio::spawn(authorize::end_idle(parts.store.clone(), parts.registry.clone(), idle_clock, stopped)),
    ];
    Ok(Running { public: public_at, admin: admin_at, parts, stop, tasks })
}

/// Where people of the administration sign in: the installation's provider, and tenants' providers whose claims give roles.
fn admin_providers(settings: &Settings, clock: &Clock) -> Result<Vec<AdminProvider>, StartError> {
    let outbound = Outbound::new(&settings.outbound)?;
    let open = |tenant: Option<TenantId>, name: &str, identity: &OidcSettings| {
        let provider = IdentityProvider::open(identity, outbound.clone(), clock.clone())?;
        Ok::<_, StartError>(AdminProvider { tenant, name: name.to_owned(), provider })
    };
    let mut out = Vec::new();
    if let Some(identity) = &settings.admin_identity {
        out.push(open(None, &settings.host, identity)?);
    }
    for tenant in &settings.tenants {
        if let SignIn::Oidc(identity) = &tenant.people.sign_in
            && !identity.claims.roles.is_empty()
        {
            let mut one = open(Some(tenant.id.clone()), &tenant.name, identity)?;
            one.provider = one.provider.below(&tenant.upstream.fhir);
            out.push(one);
        }
    }
    Ok(out)
}

/// Where the pages are: as configured, or on this machine. Browsers take no address for passkeys, but they take `localhost`.
fn console_origin(configured: Option<&str>, admin: SocketAddr) -> Option<Origin> {
    match configured {
        Some(url) => Origin::parse(url),
        None if admin.ip().is_loopback() => Origin::parse(&format!("http://localhost:{}", admin.port())),
        None => None,
    }
}

type PublicBody = Either<GateBody, Body>;

async fn serve_public(listener: Listener, gate: Arc<Gate>, oauth: axum::Router, stop: watch::Receiver<bool>) {
    let handler = move |request: Request<Incoming>, peer: SocketAddr| {
        let (gate, oauth) = (Arc::clone(&gate), oauth.clone());
        async move { public(&gate, oauth, request, peer).await }
    };
    listener.serve(handler, stop).await;
}

/// The gate is routed from the raw path; everything else may be decoded and goes to the router.
async fn public(
    gate: &Gate,
    oauth: axum::Router,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Response<PublicBody> {
    let page = page_of(gate, &request);
    if let Some(answer) = page.as_ref().and_then(CrossOrigin::preflight) {
        return answer.map(Either::Right);
    }
    let mut answer = routed_or_gated(gate, oauth, request, peer).await;
    if let Some(page) = page {
        page.mark(answer.headers_mut());
    }
    answer
}

/// What a request of a page of another origin may have, where scripts call at all (D-11).
fn page_of<B>(gate: &Gate, request: &Request<B>) -> Option<CrossOrigin> {
    let (tenant, below) = request.uri().path().strip_prefix('/')?.split_once('/')?;
    if !cors::for_scripts(below) {
        return None;
    }
    CrossOrigin::of(&gate.registry, &tenant.parse().ok()?, request)
}

async fn routed_or_gated(
    gate: &Gate,
    oauth: axum::Router,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Response<PublicBody> {
    if let Some((tenant, below)) = fhir_path(request.uri().path()) {
        let below = below.to_owned();
        return gate.answer(&tenant, &below, request, peer).await.map(Either::Left);
    }
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(authorize::Peer(peer));
    routed(oauth, request).await.map(Either::Right)
}

/// `/{tenant}/fhir` and what stands below it, but for the discovery document.
fn fhir_path(path: &str) -> Option<(TenantId, &str)> {
    let (tenant, rest) = path.strip_prefix('/')?.split_once('/')?;
    let below = rest.strip_prefix("fhir")?;
    if !below.is_empty() && !below.starts_with('/') || below == "/.well-known/smart-configuration" {
        return None;
    }
    Some((tenant.parse().ok()?, below))
}

async fn routed(router: axum::Router, request: Request<Body>) -> Response<Body> {
    let answer: Result<Response<Body>, Infallible> = router.oneshot(request).await;
    match answer {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

async fn serve_admin(listener: Listener, parts: Parts, stop: watch::Receiver<bool>) {
    let router = parts.registry.admin_router();
    let handler = move |request: Request<Incoming>, peer: SocketAddr| {
        let (router, parts) = (router.clone(), parts.clone());
        async move {
            match request.uri().path() {
                "/healthz" => plain(StatusCode::OK, "ok\n"),
                "/readyz" if parts.audit.healthy() && parts.registry.fresh() => plain(StatusCode::OK, "ready\n"),
                "/readyz" => plain(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
                _ => {
                    let mut request = request.map(Body::new);
                    request.extensions_mut().insert(authorize::Peer(peer));
                    routed(router, request).await
                }
            }
        }
    };
    listener.serve(handler, stop).await;
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    (status, text).into_response()
}

#[test]
fn only_a_tenants_fhir_base_goes_to_the_gate() {
    let below = |path| fhir_path(path).map(|(tenant, below)| (tenant.to_string(), below.to_owned()));
    assert_eq!(below("/mercy/fhir"), Some(("mercy".into(), String::new())));
    assert_eq!(below("/mercy/fhir/Patient/P1"), Some(("mercy".into(), "/Patient/P1".into())));
    for other in [
        "/",
        "/mercy",
        "/mercy/fhirx",
        "/mercy/oauth/token",
        "/Mercy/fhir",
        "/mercy/fhir/.well-known/smart-configuration",
    ] {
        assert_eq!(below(other), None, "{other}");
    }
}
