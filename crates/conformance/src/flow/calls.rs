//! Calls of a client to its server: token, refresh, introspection, revocation, the FHIR API; each with whatever proves it.

use serde_json::{Value, json};

use super::{ASSERTION_SECONDS, Fields, Grant, asserted, basic, dpop, key_of};
use crate::http::{Answer, Send, pairs};
use crate::jose::{Draft, Key, nonce};
use crate::row::Stop;
use crate::suite::{Fixture, Suite, Who, now};

impl Suite {
    /// The claims and header of an honest assertion of this client, to be signed or spoilt.
    #[must_use]
    pub fn draft(&self, client: &Fixture) -> Draft {
        let claims = json!({
            "iss": client.spec.id, "sub": client.spec.id, "aud": self.audience(client),
            "iat": now(), "exp": now() + ASSERTION_SECONDS, "jti": nonce(),
        });
        let mut draft = Draft::new(&json!({ "typ": "JWT" }), &claims);
        if let Some(b2b) = &client.spec.b2b {
            let b2b = serde_json::to_value(b2b).unwrap_or(Value::Null);
            draft = draft.claim("extensions", json!({ "hl7-b2b": b2b }));
        }
        draft
    }

    /// An honest assertion.
    ///
    /// # Errors
    /// Skips when the client has no key.
    pub fn assertion(&self, client: &Fixture) -> Result<String, Stop> {
        Ok(self.draft(client).sign_honestly(key_of(client)?)?)
    }

    /// A form to `endpoint` with whatever proves the client: assertion, secret, or its name alone.
    ///
    /// # Errors
    /// When an assertion cannot be made.
    pub fn authenticated(&self, client: &Fixture, endpoint: &str, mut fields: Fields) -> Result<Send, Stop> {
        if client.key.is_some() {
            fields.extend(asserted(&self.assertion(client)?));
            return Ok(Send::form(endpoint, &fields));
        }
        if let Some(secret) = &client.secret {
            return Ok(Send::form(endpoint, &fields).header("authorization", &basic(&client.spec.id, secret)));
        }
        if !fields.iter().any(|(name, _)| name == "client_id") {
            fields.push(("client_id".into(), client.spec.id.clone()));
        }
        Ok(Send::form(endpoint, &fields))
    }

    /// A token request as this client makes it, with a proof of possession if it must.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn token(&self, client: &Fixture, fields: Fields) -> Result<Answer, Stop> {
        let endpoint = self.endpoint("token_endpoint")?;
        let Some(proof) = &client.proof else {
            return Ok(client.http.send(self.authenticated(client, &endpoint, fields)?).await?);
        };
        self.token_proved(client, proof, fields).await
    }

    /// The same with this proof key, asked again with the nonce the server wants (RFC 9449 §8).
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn token_proved(&self, client: &Fixture, proof: &Key, fields: Fields) -> Result<Answer, Stop> {
        let endpoint = self.endpoint("token_endpoint")?;
        let mut wanted = String::new();
        loop {
            let draft = dpop(proof, "POST", &endpoint, None, &wanted);
            let send = self.authenticated(client, &endpoint, fields.clone())?.header("dpop", &draft.sign(proof)?);
            let answer = client.http.send(send).await?;
            let again = wanted.is_empty() && answer.error() == "use_dpop_nonce";
            wanted = answer.header("dpop-nonce");
            if !again || wanted.is_empty() {
                return Ok(answer);
            }
        }
    }

    /// A refresh with this token, and a scope if one is asked.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn refresh(&self, client: &Fixture, token: &str, scope: Option<&str>) -> Result<Answer, Stop> {
        let mut fields = pairs(&[("grant_type", "refresh_token"), ("refresh_token", token)]);
        fields.extend(scope.map(|scope| ("scope".to_owned(), scope.to_owned())));
        self.token(client, fields).await
    }

    /// Who asks about a token: the introspector, else its owner.
    ///
    /// # Errors
    /// Skips when neither can prove who it is.
    pub fn asker<'a>(&'a self, owner: &'a Fixture) -> Result<&'a Fixture, Stop> {
        if let Ok(introspector) = self.client(Who::Introspector) {
            return Ok(introspector);
        }
        if owner.key.is_some() || owner.secret.is_some() {
            return Ok(owner);
        }
        Err(Stop::Skip("needs [clients.introspector]: a public client cannot ask".into()))
    }

    /// Introspection of a token.
    ///
    /// # Errors
    /// Skips when there is no such endpoint.
    pub async fn introspect(&self, asker: &Fixture, token: &str) -> Result<Answer, Stop> {
        let endpoint = self.endpoint("introspection_endpoint")?;
        let send = self.authenticated(asker, &endpoint, pairs(&[("token", token)]))?;
        Ok(asker.http.send(send).await?)
    }

    /// Revocation of a token.
    ///
    /// # Errors
    /// Skips when there is no such endpoint.
    pub async fn revoke(&self, client: &Fixture, token: &str, hint: &str) -> Result<Answer, Stop> {
        let endpoint = self.endpoint("revocation_endpoint")?;
        let mut fields = pairs(&[("token", token)]);
        if !hint.is_empty() {
            fields.push(("token_type_hint".into(), hint.into()));
        }
        Ok(client.http.send(self.authenticated(client, &endpoint, fields)?).await?)
    }

    /// `GET {fhir}/{path}` with the grant's token, bound as it is.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn fhir(&self, grant: &Grant<'_>, path: &str) -> Result<Answer, Stop> {
        let url = format!("{}/{path}", self.target.fhir);
        let Some(proof) = grant.client.proof.as_ref().filter(|_| grant.text("token_type").eq_ignore_ascii_case("dpop"))
        else {
            let send = Send::get(&url).header("authorization", &format!("Bearer {}", grant.access()));
            return Ok(grant.client.http.send(send).await?);
        };
        let mut wanted = String::new();
        loop {
            let draft = dpop(proof, "GET", &url, Some(grant.access()), &wanted);
            let send = Send::get(&url)
                .header("authorization", &format!("DPoP {}", grant.access()))
                .header("dpop", &draft.sign(proof)?);
            let answer = grant.client.http.send(send).await?;
            let again = wanted.is_empty() && answer.status == 401 && answer.headers.contains_key("dpop-nonce");
            wanted = answer.header("dpop-nonce");
            if !again {
                return Ok(answer);
            }
        }
    }

    /// A FHIR request with any bearer text.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn fhir_as(&self, token: &str, path: &str) -> Result<Answer, Stop> {
        let url = format!("{}/{path}", self.target.fhir);
        self.send(Send::get(&url).header("authorization", &format!("Bearer {token}"))).await
    }
}
