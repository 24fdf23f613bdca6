//! Things registered for the tests of broker and authorization server.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::*;
use fhir::ResourceType;
use serde_json::{Value, json};
use server::settings::{OutboundSettings, TenantSettings, UpstreamAuth, UpstreamSettings};

/// 2026-01-10T00:00:00Z: near the fixture's appointments.
pub const NOW: Millis = 1_768_003_200_000;

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn tenant(id: &str, fhir: &str, auth: UpstreamAuth) -> TenantSettings {
    TenantSettings {
        id: id.parse().unwrap(),
        name: "Mercy Health".into(),
        public_url: "https://gate.example".into(),
        people: Default::default(),
        ehr: None,
        client_ca: None,
        upstream: UpstreamSettings {
            fhir: fhir.into(),
            auth,
            shared: [].into(),
            timeout: Duration::from_millis(1_500),
            body_bytes_max: 1024 * 1024,
            consent: server::settings::ConsentSource::None,
        },
    }
}

pub fn loopback() -> OutboundSettings {
    OutboundSettings { allow_private: ["127.0.0.1".to_owned(), "localhost".to_owned()].into(), ca: None }
}

/// A client's key.
pub struct Key {
    pub pair: EcdsaKeyPair,
}

impl Key {
    pub fn new() -> Self {
        Self { pair: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap() }
    }

    pub fn pkcs8(&self) -> Vec<u8> {
        self.pair.to_pkcs8v1().unwrap().as_ref().to_vec()
    }

    /// Its private half as a file, PKCS#8 in PEM.
    pub fn file(&self, folder: &tempfile::TempDir, name: &str) -> std::path::PathBuf {
        use base64::Engine as _;
        let path = folder.path().join(name);
        let text = base64::engine::general_purpose::STANDARD.encode(self.pkcs8());
        std::fs::write(&path, format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")).unwrap();
        path
    }

    pub fn jwks(&self) -> String {
        let point = self.pair.public_key().as_ref();
        let (x, y) = (b64(&point[1..49]), b64(&point[49..]));
        json!({"keys": [{"kty": "EC", "crv": "P-384", "x": x, "y": y, "kid": "k1"}]}).to_string()
    }

    pub fn sign(&self, claims: &Value) -> String {
        let input = format!(
            "{}.{}",
            b64(json!({"alg": "ES384", "kid": "k1", "typ": "JWT"}).to_string()),
            b64(claims.to_string())
        );
        let signature = self.pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", b64(signature))
    }
}

pub fn integration(id: &str, tenant: &str, class: Class, jwks: &str) -> Integration {
    let launcher = class == Class::Launcher;
    Integration {
        id: id.parse().unwrap(),
        tenant: tenant.parse().unwrap(),
        name: id.into(),
        class,
        environment: Environment::Production,
        owners: Owners {
            business: "bea@mercy.example".parse().unwrap(),
            technical: "tom@mercy.example".parse().unwrap(),
        },
        vendor: "Acme".into(),
        purpose: "books appointments".into(),
        data_classes: ["scheduling".to_owned()].into(),
        expected: if launcher { [].into() } else { [ResourceType::PATIENT, ResourceType::APPOINTMENT].into() },
        expires_at: NOW + 300 * 24 * 3_600_000,
        revocation_contact: "soc@mercy.example".into(),
        auth: ClientAuth {
            method: Default::default(),
            keys: Keys::Jwks(jwks.into()),
            algorithms: [].into(),
            audience: AssertionAudience::Both,
        },
        redirect_uris: vec![],
        launch_urls: Vec::new(),
        origins: Vec::new(),
        frame_ancestors: Vec::new(),
        demands: Default::default(),
        introspects: Default::default(),
        launches: if launcher { ["agent".parse().unwrap()].into() } else { [].into() },
        role: None,
        status: IntegrationStatus::Active,
        epoch: 0,
    }
}

pub fn profile() -> TaskProfile {
    TaskProfile {
        name: "booking".parse().unwrap(),
        version: 1,
        purpose: "book and move appointments".into(),
        purpose_of_use: "HOPERAT".into(),
        scopes: "patient/Patient.rs patient/Appointment.rs".parse().unwrap(),
        operations: Default::default(),
        labels: Default::default(),
        sender_constraint: Default::default(),
    }
}

pub fn terms(token_seconds: u32, patients_per_hour: u32) -> Terms {
    Terms {
        launch: vec![
            LaunchMode::Ticket {},
            LaunchMode::Relationship(RelationshipRule {
                evidence: ResourceType::APPOINTMENT,
                search: "patient=Patient/{patient}&status=booked".into(),
                dated_by: "start".into(),
                days_max: 30,
            }),
        ],
        token_seconds,
        budgets: Budgets::hourly(patients_per_hour),
    }
}

pub fn approval(tenant: &str, integration: &str, terms: Terms, digest: String) -> Approval {
    Approval {
        id: ApprovalId(*b"approval-0123456"),
        tenant: tenant.parse().unwrap(),
        integration: integration.parse().unwrap(),
        task: profile().reference(),
        terms,
        justification: "patients ask for it".into(),
        requested_by: "tom@mercy.example".parse().unwrap(),
        requested_at: NOW - 2_000,
        digest,
        status: ApprovalStatus::Approved {
            by: "pia@mercy.example".parse().unwrap(),
            at: NOW - 1_000,
            until: NOW + 30 * 24 * 3_600_000,
        },
        first: None,
        approved_at: None,
    }
}
