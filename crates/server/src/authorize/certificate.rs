//! Client certificates as proof of a client (RFC 8705 §2), judged for one tenant after routing: the handshake has shown only that the
//! other side holds the key.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use domain::{CertificateSubject, Millis};
use oauth::{KeySet, PublicKey};
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::listen::ClientCertificate;

/// Largest file of authorities: some hundred certificates.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// When a file was written, and how long it was.
type Stamp = (SystemTime, u64);
/// What a file held when it was written then; nothing, if it cannot be used.
type Held = (Stamp, Option<Arc<dyn ClientCertVerifier>>);

/// The authorities of one tenant's clients, read again when their file changes. While it cannot be read, nobody is vouched for.
pub(super) struct Authorities {
    file: PathBuf,
    read: Mutex<Option<Held>>,
}

impl Authorities {
    /// Those in a PEM file, which is looked at with each use.
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file, read: Mutex::new(None) }
    }

    /// Whether one of them vouches for this certificate now, as one of a TLS client (RFC 5280 §6, `id-kp-clientAuth`).
    pub(super) fn vouch_for(&self, certificate: &ClientCertificate, now: Millis) -> bool {
        let Some(verifier) = self.verifier() else { return false };
        let Some((leaf, intermediates)) = certificate.chain.split_first() else { return false };
        let Ok(now) = u64::try_from(now) else { return false };
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now));
        verifier.verify_client_cert(leaf, intermediates, now).is_ok()
    }

    fn verifier(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        let stamp = fs::metadata(&self.file).and_then(|meta| Ok((meta.modified()?, meta.len()))).ok()?;
        let mut read = self.read.lock();
        if let Some((known, verifier)) = &*read
            && *known == stamp
        {
            return verifier.clone();
        }
        let verifier = self.load(stamp.1).inspect_err(|why| {
            tracing::error!(file = %self.file.display(), why, "the authorities of clients cannot be used; no certificate is accepted");
        });
        let verifier = verifier.ok();
        *read = Some((stamp, verifier.clone()));
        verifier
    }

    fn load(&self, bytes: u64) -> Result<Arc<dyn ClientCertVerifier>, String> {
        if bytes > FILE_BYTES_MAX {
            return Err("the file is too large".into());
        }
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(&self.file).map_err(|why| why.to_string())?;
        for certificate in certificates {
            roots.add(certificate.map_err(|why| why.to_string())?).map_err(|why| why.to_string())?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().map_err(|why| why.to_string())
    }
}

/// Whether the registered attribute is in the certificate. The name is compared as RFC 4514 writes it, which registration insists on;
/// a `dNSName` without regard to case, and never as a wildcard; a URI letter by letter (RFC 8705 §2.1.2, MT-02).
pub(super) fn names(certificate: &ClientCertificate, subject: &CertificateSubject) -> bool {
    let Some(leaf) = leaf(certificate) else { return false };
    let body = leaf.tbs_certificate();
    let alternative = |fits: &dyn Fn(&GeneralName) -> bool| {
        body.get_extension::<SubjectAltName>().ok().flatten().is_some_and(|(_, names)| names.0.iter().any(fits))
    };
    match subject {
        CertificateSubject::SubjectDn(name) => body.subject().to_string() == *name,
        CertificateSubject::SanDns(name) => {
            alternative(&|entry| matches!(entry, GeneralName::DnsName(dns) if dns.as_str().eq_ignore_ascii_case(name)))
        }
        CertificateSubject::SanUri(name) => {
            alternative(&|entry| matches!(entry, GeneralName::UniformResourceIdentifier(uri) if uri.as_str() == name))
        }
    }
}

/// The registered key that is the certificate's, while the certificate's own dates hold (RFC 8705 §2.2): exactly one, or none. Nobody
/// vouches for such a certificate, so its chain is not looked at.
pub(super) fn key_among<'a>(certificate: &ClientCertificate, keys: &'a KeySet, now: Millis) -> Option<&'a PublicKey> {
    let leaf = leaf(certificate)?;
    let validity = leaf.tbs_certificate().validity();
    let now = Duration::from_millis(u64::try_from(now).ok()?);
    if now < validity.not_before.to_unix_duration() || now > validity.not_after.to_unix_duration() {
        return None;
    }
    keys.with_spki(&leaf.tbs_certificate().subject_public_key_info().to_der().ok()?)
}

/// How a distinguished name must be registered: as RFC 4514 writes the one it parses to; none when it does not parse.
pub(crate) fn canonical_name(text: &str) -> Option<String> {
    let name: x509_cert::name::RdnSequence = text.parse().ok()?;
    Some(name.to_string()).filter(|name| !name.is_empty())
}

fn leaf(certificate: &ClientCertificate) -> Option<Certificate> {
    Certificate::from_der(certificate.chain.first()?).ok()
}

#[test]
fn a_name_is_registered_as_rfc_4514_writes_it() {
    for (text, canonical) in [
        ("CN=agent,O=Acme,C=US", Some("CN=agent,O=Acme,C=US")),
        ("cn=agent,o=Acme", Some("CN=agent,O=Acme")),
        (r"CN=Acme\, Inc.,C=US", Some(r"CN=Acme\, Inc.,C=US")),
        ("agent", None),
        ("", None),
    ] {
        assert_eq!(canonical_name(text).as_deref(), canonical, "`{text}`");
    }
}
