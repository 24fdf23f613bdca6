//! One HTTP request at a time, sent as it is written: no redirect is followed, no header added but `Host`, no proxy asked.
//!
//! Every request has a connection of its own, so that fifty at once really are.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

/// Longest answer read: a page of a search, with room.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest wait for one answer; a server that delays refusals stays far below.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest excerpt of a body in a finding.
const EXCERPT_CHARS_MAX: usize = 160;
/// Members whose values never stand in a finding.
const SEALED: [&str; 8] = [
    "access_token",
    "refresh_token",
    "id_token",
    "client_secret",
    "launch",
    "code",
    "registration_access_token",
    "request_uri",
];

/// A request as it goes out.
#[derive(Clone, Debug)]
pub struct Send {
    /// Its method.
    pub method: Method,
    /// Where to, absolute; path and query go out as they stand here.
    pub url: String,
    /// Headers, in order, repeated ones too.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Send {
    /// A GET.
    #[must_use]
    pub fn get(url: &str) -> Self {
        Self { method: Method::GET, url: url.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// A POST of a form.
    #[must_use]
    pub fn form(url: &str, fields: &[(String, String)]) -> Self {
        let body = encode(fields).into_bytes();
        Self { method: Method::POST, body, ..Self::get(url) }
            .header("content-type", "application/x-www-form-urlencoded")
    }

    /// A POST of JSON.
    #[must_use]
    pub fn json(url: &str, value: &Value) -> Self {
        let body = value.to_string().into_bytes();
        Self { method: Method::POST, body, ..Self::get(url) }.header("content-type", "application/json")
    }

    /// With another method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::GET);
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// `application/x-www-form-urlencoded`.
#[must_use]
pub fn encode(fields: &[(String, String)]) -> String {
    let mut out = url::form_urlencoded::Serializer::new(String::new());
    out.extend_pairs(fields);
    out.finish()
}

/// Pairs for a form.
#[must_use]
pub fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON, `Null` when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, empty when it is not there; repeated ones joined.
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        let values: Vec<&str> = self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        values.join(", ")
    }

    /// A string member of the body, empty when it is not there.
    #[must_use]
    pub fn member(&self, name: &str) -> String {
        self.json().get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// The `error` of RFC 6749 §5.2, empty when there is none.
    #[must_use]
    pub fn error(&self) -> String {
        self.member("error")
    }

    /// Whether the body carries a token of any kind.
    #[must_use]
    pub fn has_token(&self) -> bool {
        let json = self.json();
        ["access_token", "refresh_token", "id_token"].iter().any(|name| json.get(name).is_some())
    }

    /// Status and an excerpt, for a finding; no secret and no record stands in it.
    #[must_use]
    pub fn shown(&self) -> String {
        let media = self.header("content-type");
        let body = match self.json() {
            Value::Object(members) if members.contains_key("resourceType") => {
                format!("a {}", members.get("resourceType").and_then(Value::as_str).unwrap_or("resource"))
            }
            Value::Object(mut members) => {
                for name in SEALED {
                    if let Some(value) = members.get_mut(name) {
                        *value = "[sealed]".into();
                    }
                }
                Value::Object(members).to_string()
            }
            _ if self.body.is_empty() => "no body".to_owned(),
            _ => format!("{} bytes of `{media}`", self.body.len()),
        };
        format!("{} {}", self.status, cut(&body))
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= EXCERPT_CHARS_MAX {
        return text.to_owned();
    }
    format!("{}…", text.chars().take(EXCERPT_CHARS_MAX).collect::<String>())
}

/// The client. Cheap to clone.
#[derive(Clone)]
pub struct Http {
    tls: TlsConnector,
    roots: Arc<RootCertStore>,
}

impl Http {
    /// A client that trusts the platform's anchors and those of a PEM file.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn new(ca: Option<&[u8]>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(pem) = ca {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|why| format!("`ca`: {why}"))?;
                roots.add(certificate).map_err(|why| format!("`ca`: {why}"))?;
            }
        }
        let roots = Arc::new(roots);
        Ok(Self { tls: connector(&roots, None)?, roots })
    }

    /// The same client with a certificate of its own in the handshake (RFC 8705).
    ///
    /// # Errors
    /// What is wrong with the files.
    pub fn with_certificate(&self, certificate: &[u8], key: &[u8]) -> Result<Self, String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
        let chain = chain.map_err(|why| format!("client certificate: {why}"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "client certificate: the key cannot be read")?;
        Ok(Self { tls: connector(&self.roots, Some((chain, key)))?, roots: Arc::clone(&self.roots) })
    }

    /// Sends one request and reads its answer.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub async fn send(&self, send: Send) -> Result<Answer, String> {
        let shown = send.url.split('?').next().unwrap_or_default().to_owned();
        match tokio::time::timeout(TIMEOUT, self.exchange(send)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(format!("{shown}: {why}")),
            Err(_) => Err(format!("{shown}: no answer within {} seconds", TIMEOUT.as_secs())),
        }
    }

    async fn exchange(&self, send: Send) -> Result<Answer, String> {
        let url = Url::parse(&send.url).map_err(|why| why.to_string())?;
        let host = url.host_str().ok_or("the URL has no host")?.to_owned();
        let port = url.port_or_known_default().ok_or("the URL has no port")?;
        let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await.map_err(|why| why.to_string())?;
        let _ = stream.set_nodelay(true);
        let request = request(&send, &url)?;
        if url.scheme() == "https" {
            let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|why| why.to_string())?;
            let stream = self.tls.connect(name, stream).await.map_err(|why| why.to_string())?;
            answer(TokioIo::new(stream), request).await
        } else {
            answer(TokioIo::new(stream), request).await
        }
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn connector(roots: &Arc<RootCertStore>, identity: Option<Identity>) -> Result<TlsConnector, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // TLS 1.2 too: SMART asks for it at least, and a user's server may have no more (BE-08).
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|why| why.to_string())?
        .with_root_certificates(Arc::clone(roots));
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|why| why.to_string())?,
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Path and query as they were written: `Url` would put dots and encodings in order, and some tests are about disorder.
fn target(url: &str) -> &str {
    let after = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = after.find(['/', '?']).and_then(|at| after.get(at..)).unwrap_or("/");
    path.split('#').next().unwrap_or("/")
}

fn request(send: &Send, url: &Url) -> Result<Request<Full<Bytes>>, String> {
    let target = target(&send.url);
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    let mut request = Request::builder()
        .method(send.method.clone())
        .uri(target)
        .body(Full::new(Bytes::from(send.body.clone())))
        .map_err(|why| format!("cannot be sent: {why}"))?;
    let headers = request.headers_mut();
    for (name, value) in &send.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|why| why.to_string())?;
        headers.append(name, HeaderValue::from_str(value).map_err(|why| why.to_string())?);
    }
    if !headers.contains_key(HOST) {
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        headers.insert(HOST, HeaderValue::from_str(&host).map_err(|why| why.to_string())?);
    }
    Ok(request)
}

async fn answer<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, String>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + std::marker::Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(stream).await;
    let (mut sender, connection) = handshake.map_err(|why| why.to_string())?;
    let connection = tokio::spawn(connection);
    let answered = sender.send_request(request).await.map_err(|why| why.to_string());
    let result = match answered {
        Ok(response) => {
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|why| why.to_string());
            body.map(|body| Answer {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body: body.to_bytes().to_vec(),
            })
        }
        Err(why) => Err(why),
    };
    connection.abort();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_goes_out_as_it_stands() {
        for (url, sent) in [
            ("http://127.0.0.1:1/a/../b//c%2f;x?q=%7c#frag", "/a/../b//c%2f;x?q=%7c"),
            ("https://h", "/"),
            ("https://h?x=1", "?x=1"),
        ] {
            assert_eq!(target(url), sent, "{url}");
        }
    }

    #[test]
    fn a_finding_shows_no_secret_and_no_record() {
        let answer = |body: &str| Answer { status: 200, headers: HeaderMap::new(), body: body.as_bytes().to_vec() };
        let shown = answer(r#"{"access_token":"SECRET","scope":"x"}"#).shown();
        assert!(!shown.contains("SECRET") && shown.contains("scope"), "{shown}");
        assert_eq!(answer(r#"{"resourceType":"Patient","name":"Ann"}"#).shown(), "200 a Patient");
    }
}
