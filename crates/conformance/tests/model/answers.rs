//! What the model answers with.

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use serde_json::{Value, json};

/// An answer in the making.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Reply {
    /// With this header, in place of one of its name.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(have, _)| *have != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn build(self) -> Response<Full<Bytes>> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response.body(Full::new(Bytes::from(self.body))).unwrap()
    }
}

pub fn json_reply(status: u16, body: &Value) -> Reply {
    Reply { status, headers: vec![("content-type", "application/json".into())], body: body.to_string() }
}

pub fn error(status: u16, code: &str) -> Reply {
    json_reply(status, &json!({ "error": code, "error_description": "no" }))
}

pub fn redirect(status: u16, to: &str) -> Reply {
    Reply { status, headers: vec![("location", to.to_owned())], body: String::new() }
}

pub fn capability_statement() -> Value {
    json!({ "resourceType": "CapabilityStatement", "rest": [{ "security": { "service": [{ "coding": [{ "code": "SMART-on-FHIR" }] }] } }] })
}
