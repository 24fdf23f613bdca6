//! Opens one connection: resolve, judge, connect to the judged address, TLS 1.3.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::OpenOutboundError;
use super::vet::{Trust, allowed};
use crate::settings::OutboundSettings;

/// Longest wait for name, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses tried per name.
const ADDRESSES_MAX: usize = 4;

/// Makes connections for the client; nothing else in the server does.
#[derive(Clone)]
pub(super) struct Connector(Arc<Inner>);

struct Inner {
    allow_private: BTreeSet<String>,
    tls: TlsConnector,
}

impl Connector {
    pub(super) fn new(settings: &OutboundSettings) -> Result<Self, OpenOutboundError> {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        for why in &native.errors {
            tracing::warn!(%why, "a platform trust anchor cannot be read");
        }
        roots.add_parsable_certificates(native.certs);
        if let Some(path) = &settings.ca {
            let failed = |why: String| OpenOutboundError::Anchors { file: path.display().to_string(), why };
            let certificates = CertificateDer::pem_file_iter(path).map_err(|why| failed(why.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|why| failed(why.to_string()))?;
                roots.add(certificate).map_err(|why| failed(why.to_string()))?;
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let allow_private = settings.allow_private.iter().map(|host| host.to_ascii_lowercase()).collect();
        Ok(Self(Arc::new(Inner { allow_private, tls: TlsConnector::from(Arc::new(config)) })))
    }

    /// A new connection to the host of a URL.
    pub(super) async fn connect(&self, uri: &Uri) -> io::Result<Stream> {
        match tokio::time::timeout(CONNECT_TIMEOUT, self.0.connect(uri)).await {
            Ok(done) => done,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "connecting took too long")),
        }
    }
}

impl Inner {
    async fn connect(&self, uri: &Uri) -> io::Result<Stream> {
        let refused = |why: &'static str| io::Error::new(io::ErrorKind::PermissionDenied, why);
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(refused("scheme")),
        };
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        let trust = if self.allow_private.contains(host) { Trust::Private } else { Trust::Public };
        if !secure && trust == Trust::Public {
            return Err(refused("plaintext is for loopback hosts that configuration names"));
        }
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let addresses = tokio::net::lookup_host((host, port)).await?;
        let fit = |address: &SocketAddr| allowed(address.ip(), trust) && (secure || address.ip().is_loopback());
        let mut last = refused("no acceptable address");
        for address in addresses.filter(fit).take(ADDRESSES_MAX) {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return self.secure(stream, secure, host).await;
                }
                Err(why) => last = why,
            }
        }
        Err(last)
    }

    async fn secure(&self, stream: TcpStream, secure: bool, host: &str) -> io::Result<Stream> {
        if !secure {
            return Ok(Stream::Plain(TokioIo::new(stream)));
        }
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "host name"))?;
        let stream = self.tls.connect(name, stream).await?;
        Ok(Stream::Tls(Box::new(TokioIo::new(stream))))
    }
}

/// An open connection.
pub(super) enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Read for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }
}
