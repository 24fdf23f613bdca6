//! Listeners: rustls with TLS 1.3 only and certificates that reload; plaintext on loopback alone (S4-04, S4-20).

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use http::{Request, Response};
use http_body::Body;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::settings::{ListenSettings, TlsFiles};

/// Connections served at once per listener; further ones wait in the kernel's backlog.
const CONNECTIONS_MAX: usize = 8_192;
/// A peer that has not sent its whole request head by then is cut off (slow-loris).
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that has not finished its TLS handshake by then is cut off.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest request head: a token is under 8 KiB, path and query under 9 KiB together.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Most header fields in a request; browsers send about 20.
const HEADERS_MAX: usize = 64;
/// Longest that a request under way may take to its end once the server stops: less than the 30 s after which orchestrators kill.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(25);
/// How often certificate files are looked at.
const RELOAD_EVERY: Duration = Duration::from_secs(5);

/// Why a listener cannot start. Each names what to change.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Plaintext away from loopback.
    #[error("`{0}` is not a loopback address: give the listener `tls`, or listen on 127.0.0.1")]
    Plaintext(SocketAddr),
    /// The address is taken or not ours.
    #[error("cannot listen on `{address}`: {why}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// The system's answer.
        why: io::Error,
    },
    /// The certificate or key file is unusable.
    #[error("tls: {0}")]
    Tls(String),
}

/// The certificate a connection was opened with, as a request extension. Its holder has the key; whether it means anything is for
/// whoever knows the client (RFC 8705 §7.2).
#[derive(Clone)]
pub struct ClientCertificate {
    /// As presented, leaf first.
    pub chain: Arc<[CertificateDer<'static>]>,
    /// SHA-256 of the leaf: `x5t#S256`.
    pub sha256: [u8; 32],
}

impl std::fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientCertificate([sealed])")
    }
}

/// One bound listener, not yet serving.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<Arc<Certificates>>,
    clients: Clients,
}

/// What a listener asks of those who connect by TLS.
#[derive(Clone, Copy)]
enum Clients {
    /// Nothing.
    Unasked,
    /// A certificate, if they have one.
    Asked,
}

impl Listener {
    /// Binds the address and reads the certificate, so that mistakes show before anything else starts.
    ///
    /// # Errors
    /// [`ListenError`] says what to change.
    pub async fn bind(settings: &ListenSettings) -> Result<Self, ListenError> {
        if settings.tls.is_none() && !settings.listen.ip().is_loopback() {
            return Err(ListenError::Plaintext(settings.listen));
        }
        let tls = settings.tls.as_ref().map(Certificates::load).transpose()?.map(Arc::new);
        let tcp = TcpListener::bind(settings.listen)
            .await
            .map_err(|why| ListenError::Bind { address: settings.listen, why })?;
        Ok(Self { tcp, tls, clients: Clients::Unasked })
    }

    /// The same, asking each TLS client for a certificate. Without one it is served as before; with one, each of its requests carries
    /// [`ClientCertificate`].
    #[must_use]
    pub fn asking_for_certificates(self) -> Self {
        Self { clients: Clients::Asked, ..self }
    }

    /// Where it listens; tells the port when 0 was asked for.
    ///
    /// # Errors
    /// The system's error.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until `stop` turns true, then lets requests under way finish; when this returns, no connection is left.
    pub async fn serve<H, F, B>(self, handler: H, mut stop: watch::Receiver<bool>)
    where
        H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let acceptor =
            self.tls.as_ref().map(|certificates| TlsAcceptor::from(Arc::new(certificates.server_config(self.clients))));
        if let Some(certificates) = self.tls.clone() {
            tokio::spawn(certificates.keep_fresh(stop.clone()));
        }
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let permit = tokio::select! {
                permit = Arc::clone(&permits).acquire_owned() => permit,
                _ = stop.changed() => break,
            };
            let Ok(permit) = permit else { return };
            let (stream, peer) = tokio::select! {
                accepted = self.tcp.accept() => match accepted {
                    Ok(accepted) => accepted,
                    // Out of file descriptors or a peer gone before accept: neither is a reason to stop listening.
                    Err(_) => { tokio::time::sleep(Duration::from_millis(20)).await; continue; }
                },
                _ = stop.changed() => break,
            };
            let (handler, acceptor, stop) = (handler.clone(), acceptor.clone(), stop.clone());
            tokio::spawn(async move {
                let _permit = permit;
                let _ = stream.set_nodelay(true);
                match acceptor {
                    None => connection(stream, peer, None, handler, stop).await,
                    Some(acceptor) => {
                        if let Ok(Ok(tls)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                            let certificate = presented(&tls);
                            connection(tls, peer, certificate, handler, stop).await;
                        }
                    }
                }
            });
        }
        // Not even the backlog is to wait for those that leave.
        drop(self.tcp);
        let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
        let _ = permits.acquire_many(all).await;
    }
}

/// The certificate that the handshake has shown the other side to hold the key of.
fn presented(tls: &TlsStream<TcpStream>) -> Option<ClientCertificate> {
    let (_, connection) = tls.get_ref();
    let chain: Arc<[CertificateDer<'static>]> =
        connection.peer_certificates()?.iter().map(|certificate| certificate.clone().into_owned()).collect();
    let digest = digest::digest(&digest::SHA256, chain.first()?);
    Some(ClientCertificate { sha256: digest.as_ref().try_into().ok()?, chain })
}

async fn connection<S, H, F, B>(
    stream: S,
    peer: SocketAddr,
    certificate: Option<ClientCertificate>,
    handler: H,
    mut stop: watch::Receiver<bool>,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(certificate) = &certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        let answer = handler(request, peer);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(true);
    let serving = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    // A connection error is the peer's doing (cut off, malformed head); hyper has answered 400 where it could.
    tokio::select! {
        _ = serving.as_mut() => {}
        _ = stop.changed() => {
            serving.as_mut().graceful_shutdown();
            // One that takes longer is cut off; a change it asked for runs on by itself.
            if tokio::time::timeout(LEAVE_TIMEOUT, serving).await.is_err() {
                tracing::warn!(%peer, "a connection was cut off at the end");
            }
        }
    }
}

/// The certificate in use, swapped when its files change.
#[derive(Debug)]
struct Certificates {
    files: TlsFiles,
    current: ArcSwap<CertifiedKey>,
}

impl Certificates {
    fn load(files: &TlsFiles) -> Result<Self, ListenError> {
        let key = read_identity(files).map_err(ListenError::Tls)?;
        Ok(Self { files: files.clone(), current: ArcSwap::from_pointee(key) })
    }

    fn server_config(self: &Arc<Self>, clients: Clients) -> rustls::ServerConfig {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::new(Resolver(Arc::clone(self)));
        let builder = rustls::ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13]);
        let builder = match clients {
            Clients::Unasked => builder.with_no_client_auth(),
            Clients::Asked => builder.with_client_cert_verifier(Arc::new(Possession::new())),
        };
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }

    /// Looks at the files' times; a new pair that does not load leaves the old one in use and is logged.
    async fn keep_fresh(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let times = |files: &TlsFiles| (modified(&files.certificate), modified(&files.key));
        let mut seen = times(&self.files);
        loop {
            tokio::select! {
                () = tokio::time::sleep(RELOAD_EVERY) => {}
                _ = stop.changed() => return,
            }
            let now = times(&self.files);
            if now == seen {
                continue;
            }
            match read_identity(&self.files) {
                Ok(key) => {
                    self.current.store(Arc::new(key));
                    seen = now;
                    tracing::info!("tls certificate reloaded");
                }
                Err(why) => tracing::warn!(why, "tls certificate changed but cannot be used; the old one stays"),
            }
        }
    }
}

/// Takes any client certificate whose key the other side proves to hold, and none as well. Who it is, is judged per tenant once the
/// request says which (RFC 8705 §2.2, §6.3): a refusal in the handshake would leave nobody to be told why, and nothing to record.
#[derive(Debug)]
struct Possession(WebPkiSupportedAlgorithms);

impl Possession {
    fn new() -> Self {
        Self(rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms)
    }
}

impl ClientCertVerifier for Possession {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, leaf, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[derive(Debug)]
struct Resolver(Arc<Certificates>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current.load_full())
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

fn read_identity(files: &TlsFiles) -> Result<CertifiedKey, String> {
    let name = |path: &Path| path.display().to_string();
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|why| format!("`{}` holds no readable PEM certificate: {why}", name(&files.certificate)))?;
    if chain.is_empty() {
        return Err(format!("`{}` holds no PEM certificate", name(&files.certificate)));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|why| format!("`{}` holds no readable PEM private key: {why}", name(&files.key)))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, key, &provider)
        .map_err(|why| format!("`{}` and `{}` do not fit: {why}", name(&files.certificate), name(&files.key)))
}

/// Handed to [`Listener::serve`] so that TLS has its one crypto provider; safe to call more than once.
pub fn install_crypto() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
