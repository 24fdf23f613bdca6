//! What the server says of itself, and where that stands. Read once; every row works with what was said here.

use serde_json::Value;
use url::Url;

use crate::http::{Answer, Http, Send};

/// The server under test, by its own documents.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// FHIR base, without a slash at its end.
    pub fhir: String,
    /// Issuer; empty when no document names one.
    pub issuer: String,
    /// The issuer whose documents were asked for: RFC 8414 §3.3 wants them to name it.
    pub asked: String,
    /// `{fhir}/.well-known/smart-configuration`.
    pub smart: Value,
    /// RFC 8414; `Null` when there is none.
    pub oauth: Value,
    /// OpenID Connect Discovery; `Null` when there is none.
    pub oidc: Value,
    /// RFC 9728; `Null` when there is none.
    pub resource: Value,
}

/// Path of the SMART document below a FHIR base.
pub const SMART: &str = "/.well-known/smart-configuration";

impl Target {
    /// Finds the documents of a FHIR base or an issuer.
    ///
    /// # Errors
    /// When neither has a SMART configuration.
    pub async fn discover(http: &Http, url: &str) -> Result<Self, String> {
        let url = url.trim_end_matches('/');
        let valid = Url::parse(url).ok().filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"));
        valid.ok_or_else(|| format!("`{url}` must be an http or https URL"))?;
        let mut tried = Vec::new();
        // A FHIR base as it stands; or an issuer, with its FHIR base where Hilum has it.
        for fhir in [url.to_owned(), format!("{url}/fhir")] {
            let at = format!("{fhir}{SMART}");
            match document(http, &at).await {
                Ok(smart) => return Ok(Self::of(http, fhir, smart).await),
                Err(why) => tried.push(why),
            }
        }
        Err(format!("no SMART configuration was found:\n  {}", tried.join("\n  ")))
    }

    async fn of(http: &Http, fhir: String, smart: Value) -> Self {
        let resource = document(http, &well_known(&fhir, "oauth-protected-resource")).await.unwrap_or(Value::Null);
        let named = resource.pointer("/authorization_servers/0").and_then(Value::as_str);
        let issuer = smart.get("issuer").and_then(Value::as_str).or(named).map(str::to_owned);
        let guess = fhir.rsplit_once('/').map(|(parent, _)| parent.to_owned()).unwrap_or_default();
        let candidates = issuer.map_or_else(|| vec![guess, fhir.clone()], |issuer| vec![issuer]);
        let mut target = Self { fhir, smart, resource, ..Self::default() };
        for issuer in candidates.into_iter().filter(|issuer| Url::parse(issuer).is_ok_and(|url| url.has_host())) {
            let oauth = document(http, &well_known(&issuer, "oauth-authorization-server")).await;
            let oidc =
                document(http, &format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))).await;
            target.asked.clone_from(&issuer);
            target.oauth = oauth.unwrap_or(Value::Null);
            target.oidc = oidc.unwrap_or(Value::Null);
            if !target.oauth.is_null() || !target.oidc.is_null() {
                break;
            }
        }
        let text = |document: &Value| document.get("issuer").and_then(Value::as_str).map(str::to_owned);
        target.issuer =
            text(&target.smart).or_else(|| text(&target.oauth)).or_else(|| text(&target.oidc)).unwrap_or_default();
        target
    }

    /// A member that some document has; the SMART configuration first.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Value> {
        [&self.smart, &self.oauth, &self.oidc].into_iter().find_map(|document| document.get(name))
    }

    /// An endpoint by its name in the documents, e.g. `token_endpoint`.
    #[must_use]
    pub fn endpoint(&self, name: &str) -> Option<String> {
        self.member(name)?.as_str().map(str::to_owned)
    }

    /// Whether the SMART configuration lists the capability.
    #[must_use]
    pub fn can(&self, capability: &str) -> bool {
        self.lists("capabilities", capability)
    }

    /// Whether a list in the documents holds the word.
    #[must_use]
    pub fn lists(&self, name: &str, word: &str) -> bool {
        self.member(name).and_then(Value::as_array).is_some_and(|list| list.iter().any(|item| item == word))
    }
}

/// RFC 8414 §3, RFC 9728 §3: the name stands between host and path.
#[must_use]
pub fn well_known(url: &str, name: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return String::new() };
    let (host, path) = rest.find('/').and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, ""));
    format!("{scheme}://{host}/.well-known/{name}{}", path.trim_end_matches('/'))
}

async fn document(http: &Http, url: &str) -> Result<Value, String> {
    let answer: Answer = http.send(Send::get(url).header("accept", "application/json")).await?;
    let json = answer.json();
    if answer.status == 200 && json.is_object() { Ok(json) } else { Err(format!("{url}: {}", answer.shown())) }
}

#[test]
fn well_known_stands_before_the_path() {
    assert_eq!(well_known("https://h:1/a/b/", "x"), "https://h:1/.well-known/x/a/b");
    assert_eq!(well_known("https://h", "x"), "https://h/.well-known/x");
}
