//! Where a registered client is reached, and by what its certificate is known: rules over text that is compared as text later
//! (RFC 9700 §4.1.3), so that nothing is ever normalised and each address has one spelling (REG-01, REG-09).

use domain::{AuthMethod, CertificateSubject, Class, Demand, Environment, Integration};
use http::Uri;

/// Most entries of one list.
const ENTRIES_MAX: usize = 10;
/// Longest address.
const ADDRESS_BYTES_MAX: usize = 500;

/// Mistakes in the addresses, demands and certificate name of a registration.
pub(super) fn mistakes(integration: &Integration) -> Vec<String> {
    let mut out = Vec::new();
    let test = integration.environment == Environment::Test;
    let public = integration.auth.method == AuthMethod::None;
    each(&mut out, "redirect_uris", ENTRIES_MAX, &integration.redirect_uris, |uri| redirect(uri, public, test));
    each(&mut out, "launch_urls", 1, &integration.launch_urls, |url| page(url, test));
    each(&mut out, "origins", ENTRIES_MAX, &integration.origins, |text| origin(text, test));
    each(&mut out, "frame_ancestors", ENTRIES_MAX, &integration.frame_ancestors, |text| origin(text, test));
    out.extend(demands(integration));
    if let AuthMethod::TlsClientAuth(subject) = &integration.auth.method {
        out.extend(certificate(subject));
    }
    out
}

fn each(
    out: &mut Vec<String>,
    field: &str,
    most: usize,
    entries: &[String],
    check: impl Fn(&str) -> Result<(), &'static str>,
) {
    if entries.len() > most {
        out.push(format!("`{field}` has more than {most} entries"));
    }
    for (index, entry) in entries.iter().enumerate() {
        if let Err(says) = plain(entry).and_then(|()| check(entry)) {
            out.push(format!("`{field}`: `{entry}` {says}"));
        }
        if entries.iter().take(index).any(|other| other == entry) {
            out.push(format!("`{field}`: `{entry}` is there twice"));
        }
    }
}

/// What no address may hold: a fragment, a wildcard, user info, or what browsers read otherwise than servers do.
fn plain(text: &str) -> Result<(), &'static str> {
    let fits = text.len() <= ADDRESS_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !text.contains(['*', '#', '@', '\\', '"', '\'', '<', '>', '`']);
    if fits {
        Ok(())
    } else {
        Err("must be of plain letters, at most 500, without `*`, `#`, `@`, `\\`, quotes and brackets")
    }
}

/// A redirect URI: https; for native apps, which are public clients, also loopback by address and schemes of their own (RFC 8252 §7).
/// `localhost` may resolve to somebody else (RFC 8252 §8.3), so it is for the test environment, as is loopback for other clients.
fn redirect(text: &str, public: bool, test: bool) -> Result<(), &'static str> {
    if private_use(text) {
        return if public { Ok(()) } else { Err("has a scheme of its own, which is for public clients") };
    }
    match reached(text) {
        Some(Reached::Https) => Ok(()),
        Some(Reached::Loopback) if public || test => Ok(()),
        Some(Reached::Localhost) if test => Ok(()),
        _ => Err(
            "must be an exact https URL; a public client may also have http://127.0.0.1, http://[::1] or com.example.app:/path",
        ),
    }
}

/// The app's own page, which an EHR opens.
fn page(text: &str, test: bool) -> Result<(), &'static str> {
    match reached(text) {
        Some(Reached::Https | Reached::Loopback) => Ok(()),
        Some(Reached::Localhost) if test => Ok(()),
        _ => Err("must be an exact https URL, or http on 127.0.0.1 or [::1]"),
    }
}

/// An origin as browsers write it (RFC 6454 §6.2).
fn origin(text: &str, test: bool) -> Result<(), &'static str> {
    let says = "must be an origin such as https://app.example, without a path or a default port, in small letters";
    let authority = text.split_once("://").map_or("", |(_, rest)| rest);
    let default_port = match text.split_once("://") {
        Some(("https", authority)) => authority.ends_with(":443"),
        Some((_, authority)) => authority.ends_with(":80"),
        None => true,
    };
    let spelt = !default_port && !authority.contains(|c: char| matches!(c, '/' | '?') || c.is_ascii_uppercase());
    match reached(text) {
        Some(Reached::Https) if spelt => Ok(()),
        Some(Reached::Loopback | Reached::Localhost) if spelt && test => Ok(()),
        _ => Err(says),
    }
}

enum Reached {
    Https,
    /// http at 127.0.0.1 or [::1].
    Loopback,
    /// http at `localhost`.
    Localhost,
}

fn reached(text: &str) -> Option<Reached> {
    let uri: Uri = text.parse().ok()?;
    let host = uri.host().filter(|host| !host.is_empty())?;
    // A port that is no number, or none after the colon, is read differently by different parsers.
    let authority = uri.authority()?.as_str();
    if authority != host && uri.port_u16().is_none_or(|port| authority != format!("{host}:{port}")) {
        return None;
    }
    // Schemes are compared with their case kept: one spelling for each address.
    match (text.split_once("://")?.0, host) {
        ("https", _) => Some(Reached::Https),
        ("http", "127.0.0.1" | "[::1]") => Some(Reached::Loopback),
        ("http", "localhost") => Some(Reached::Localhost),
        _ => None,
    }
}

/// `com.example.app:/path`: a reversed domain name, and one slash, since there is no authority (RFC 8252 §7.1).
fn private_use(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let label = |label: &str| {
        label.starts_with(|first: char| first.is_ascii_lowercase())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    scheme.contains('.') && scheme.split('.').all(label) && rest.starts_with('/') && !rest.starts_with("//")
}

fn demands(integration: &Integration) -> Vec<String> {
    let mut out = Vec::new();
    let has = |demand| integration.demands.contains(&demand);
    if has(Demand::Dpop) && has(Demand::Mtls) {
        out.push("`demands`: a token is bound to one key: dpop or mtls, not both".into());
    }
    if (has(Demand::Dpop) || has(Demand::Mtls)) && integration.class == Class::Launcher {
        out.push("`demands`: a launcher has no tokens that could be bound".into());
    }
    if has(Demand::Par) && integration.redirect_uris.is_empty() {
        out.push("`demands`: par is for clients that send people to the authorization endpoint".into());
    }
    out
}

fn certificate(subject: &CertificateSubject) -> Option<String> {
    match subject {
        CertificateSubject::SubjectDn(name) => match crate::authorize::canonical_name(name) {
            Some(canonical) if canonical == *name => None,
            Some(canonical) => Some(format!("`auth.method.tls_client_auth.subject_dn` must be written `{canonical}`")),
            None => Some(
                "`auth.method.tls_client_auth.subject_dn` must be a distinguished name such as `CN=agent,O=Acme` (RFC 4514)"
                    .into(),
            ),
        },
        CertificateSubject::SanDns(name) => {
            let fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
            (!fits).then(|| "`auth.method.tls_client_auth.san_dns` must be one host name, without a wildcard".into())
        }
        CertificateSubject::SanUri(uri) => {
            let fits = uri.contains(':') && uri.bytes().all(|byte| byte.is_ascii_graphic()) && !uri.contains('*');
            (!fits).then(|| "`auth.method.tls_client_auth.san_uri` must be one URI".into())
        }
    }
}

#[test]
fn reg_09_redirect_uris_are_exact() {
    for (text, confidential, public, test) in [
        ("https://app.example/cb", true, true, true),
        ("https://app.example:8443/cb?x=1", true, true, true),
        ("http://127.0.0.1/cb", false, true, true),
        ("http://127.0.0.1:4711/cb", false, true, true),
        ("http://[::1]:4711/cb", false, true, true),
        ("http://localhost:3000/cb", false, false, true),
        ("com.example.app:/cb", false, true, false),
        ("com.example.app://cb", false, false, false),
        ("myapp:/cb", false, false, false),
        ("javascript:/alert", false, false, false),
        ("http://app.example/cb", false, false, false),
        ("http://127.0.0.1.evil.example/cb", false, false, false),
        ("http://127.0.0.1@evil.example/cb", false, false, false),
        ("https://app.example/cb#x", false, false, false),
        ("https://*.app.example/cb", false, false, false),
        ("https://user@app.example/cb", false, false, false),
        ("https://app.example:/cb", false, false, false),
        ("https://app.example:x/cb", false, false, false),
        (r"https://app.example\@evil.example/cb", false, false, false),
        ("HTTPS://app.example/cb", false, false, false),
        ("//app.example/cb", false, false, false),
        ("/cb", false, false, false),
        ("https:///cb", false, false, false),
        ("", false, false, false),
    ] {
        let fits = |public, test| plain(text).and_then(|()| redirect(text, public, test)).is_ok();
        assert_eq!(
            (fits(false, false), fits(true, false), fits(false, true)),
            (confidential, public, test),
            "`{text}`"
        );
    }
}

#[test]
fn origins_have_one_spelling() {
    for (text, production, test) in [
        ("https://app.example", true, true),
        ("https://app.example:8443", true, true),
        ("http://127.0.0.1:3000", false, true),
        ("http://localhost:3000", false, true),
        ("https://app.example/", false, false),
        ("https://app.example/x", false, false),
        ("https://app.example?x", false, false),
        ("https://app.example:443", false, false),
        ("https://App.example", false, false),
        ("https://*", false, false),
        ("null", false, false),
        ("http://app.example", false, false),
    ] {
        let fits = |test| plain(text).and_then(|()| origin(text, test)).is_ok();
        assert_eq!((fits(false), fits(true)), (production, test), "`{text}`");
    }
}

#[test]
fn a_certificate_is_named_in_one_spelling() {
    for (subject, fits) in [
        (CertificateSubject::SubjectDn("CN=agent,O=Acme,C=US".into()), true),
        (CertificateSubject::SubjectDn("CN=agent, O=Acme".into()), false),
        (CertificateSubject::SubjectDn("agent".into()), false),
        (CertificateSubject::SanDns("agent.acme.example".into()), true),
        (CertificateSubject::SanDns("*.acme.example".into()), false),
        (CertificateSubject::SanUri("spiffe://acme.example/agent".into()), true),
        (CertificateSubject::SanUri("agent".into()), false),
    ] {
        assert_eq!(certificate(&subject).is_none(), fits, "{subject:?}");
    }
}
