//! The tour: real requests, each with what it must end in.

use http::Method;
use serde_json::{Value, json};

use super::hospital::{ANALYTICS, Hospital, INTAKE, LAUNCHER, SCHEDULER, TENANT};
use super::http::{Exchange, Send};
use super::show::{self, Step};
use crate::cli::Failure;
use crate::commands::client::segment;
use crate::output::Format;
use crate::words;

/// Patient of the tour, and the other one.
pub const PATIENT: &str = "pat-001";
pub const OTHER: &str = "pat-002";

/// Counts and shows the steps.
pub struct Tour<'a> {
    pub(super) hospital: &'a Hospital,
    format: Format,
    number: u32,
    failed: u32,
}

/// Performs the tour; returns how many steps ended otherwise than they say.
pub async fn walk(hospital: &Hospital, format: Format) -> Result<u32, Failure> {
    let mut tour = Tour { hospital, format, number: 0, failed: 0 };
    let (token, sid) = tour.launch().await?;
    tour.own_record(&token).await?;
    tour.other_patients(&token).await?;
    tour.wider(&token).await?;
    tour.de_identified().await?;
    tour.with_people().await?;
    tour.hostile_upstream().await?;
    tour.afterwards(&token, &sid).await?;
    Ok(tour.failed)
}

/// A launch ticket and the token for it: what a launcher and an agent do.
pub async fn session(
    hospital: &Hospital,
    agent: &str,
    task: &str,
    patient: &str,
) -> Result<(Exchange, Exchange), Failure> {
    let ticket = ticket(hospital, agent, task, patient).await?;
    let token = redeem(hospital, agent, ticket.text("/launch")).await?;
    Ok((ticket, token))
}

/// RFC 7523 §2.2.
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

async fn ticket(hospital: &Hospital, agent: &str, task: &str, patient: &str) -> Result<Exchange, Failure> {
    let body = json!({
        "client_assertion_type": ASSERTION_TYPE, "client_assertion": hospital.assertion(LAUNCHER)?,
        "client_id": agent, "task": task, "patient": patient
    });
    hospital.http.send(Method::POST, &format!("{}/oauth/launch", hospital.issuer), None, Send::Json(&body)).await
}

async fn redeem(hospital: &Hospital, agent: &str, ticket: &str) -> Result<Exchange, Failure> {
    let form = format!(
        "grant_type=client_credentials&launch={}&client_assertion_type={}&client_assertion={}",
        segment(ticket),
        segment(ASSERTION_TYPE),
        hospital.assertion(agent)?
    );
    hospital.http.send(Method::POST, &format!("{}/oauth/token", hospital.issuer), None, Send::Form(form)).await
}

impl Tour<'_> {
    pub(super) fn step(&mut self, title: &str, expected: &str, exchange: &Exchange, ended: bool, excerpt: Value) {
        self.number += 1;
        self.failed += u32::from(!ended);
        show::step(
            self.format,
            &Step { number: self.number, title, expected, exchange: Some(exchange), ended, excerpt },
        );
    }

    /// A step that is done here, without a request.
    pub(super) fn local(&mut self, title: &str, expected: &str, ended: bool, excerpt: Value) {
        self.number += 1;
        self.failed += u32::from(!ended);
        show::step(self.format, &Step { number: self.number, title, expected, exchange: None, ended, excerpt });
    }

    pub(super) async fn fhir(&self, path: &str, token: &str) -> Result<Exchange, Failure> {
        self.hospital.http.get(&format!("{}/{path}", self.hospital.fhir()), Some(token)).await
    }

    /// Discovery, launch ticket, token; the ticket works once.
    async fn launch(&mut self) -> Result<(String, String), Failure> {
        let url = format!("{}/.well-known/smart-configuration", self.hospital.fhir());
        let found = self.hospital.http.get(&url, None).await?;
        let ended = found.status == 200 && found.text("/token_endpoint").ends_with("/oauth/token");
        let excerpt =
            show::members(&found.body, &["issuer", "token_endpoint", "grant_types_supported", "capabilities"]);
        self.step("any SMART client discovers the gate", "200", &found, ended, excerpt);

        let minted = ticket(self.hospital, SCHEDULER, "scheduling", PATIENT).await?;
        let ended = minted.status == 201 && !minted.text("/launch").is_empty();
        let title = format!("the front desk asks for a launch ticket: this agent, this task, patient {PATIENT}");
        self.step(&title, "201", &minted, ended, show::secret(&minted.body, "launch"));

        let token = redeem(self.hospital, SCHEDULER, minted.text("/launch")).await?;
        let ended = token.status == 200
            && token.body.get("expires_in").and_then(Value::as_u64) == Some(900)
            && token.text("/patient") == PATIENT;
        let excerpt = show::secret(&token.body, "access_token");
        self.step("the agent redeems it: a token for 15 minutes, one patient, one task", "200", &token, ended, excerpt);

        let again = redeem(self.hospital, SCHEDULER, minted.text("/launch")).await?;
        let ended = again.status == 400 && again.text("/error") == "invalid_grant";
        self.step("the same ticket a second time", "400 invalid_grant", &again, ended, again.body.clone());

        let text = token.text("/access_token").to_owned();
        let sid = show::claim(&text, "sid").unwrap_or_default();
        Ok((text, sid))
    }

    async fn own_record(&mut self, token: &str) -> Result<(), Failure> {
        let read = self.fhir(&format!("Patient/{PATIENT}"), token).await?;
        let ended = read.status == 200 && read.text("/id") == PATIENT;
        let excerpt = show::members(&read.body, &["resourceType", "id", "name", "birthDate"]);
        self.step("it reads its patient", "200", &read, ended, excerpt);

        let search = self.fhir(&format!("Appointment?patient={PATIENT}"), token).await?;
        let entries = search.entries();
        let own = entries.iter().all(|entry| entry.starts_with("Appointment/appt-001-"));
        let ended = search.status == 200 && !entries.is_empty() && own;
        let title = "it searches its patient's appointments; the one shared with another patient is left out";
        self.step(
            title,
            "200, own entries only",
            &search,
            ended,
            json!({"entries": entries, "the EHR saw": self.seen()}),
        );
        Ok(())
    }

    async fn other_patients(&mut self, token: &str) -> Result<(), Failure> {
        let other = self.fhir(&format!("Patient/{OTHER}"), token).await?;
        self.step("another patient", "403", &other, other.status == 403, show::outcome(&other.body));

        let foreign = self.fhir("Appointment/appt-004-1", token).await?;
        let absent = self.fhir("Appointment/appt-none-1", token).await?;
        let same = foreign.status == 404
            && absent.status == 404
            && show::outcome(&foreign.body) == show::outcome(&absent.body);
        self.step("an appointment of another patient", "404", &foreign, same, show::outcome(&foreign.body));
        self.step(
            "an appointment that does not exist: the same answer",
            "404",
            &absent,
            same,
            show::outcome(&absent.body),
        );
        Ok(())
    }

    async fn wider(&mut self, token: &str) -> Result<(), Failure> {
        let kind = self.fhir(&format!("Observation?patient={PATIENT}"), token).await?;
        let challenge = kind.header("www-authenticate").unwrap_or("").to_owned();
        let ended = kind.status == 403 && challenge.contains("insufficient_scope");
        let excerpt = json!({"WWW-Authenticate": challenge, "says": show::outcome(&kind.body)});
        self.step(
            "a type the task was not given; the answer says what to ask for",
            "403 insufficient_scope",
            &kind,
            ended,
            excerpt,
        );

        let all = self.fhir("Patient?active=true", token).await?;
        let ended = all.status == 200 && all.entries() == [format!("Patient/{PATIENT}")];
        let excerpt = json!({"entries": all.entries(), "the EHR saw": self.seen()});
        self.step("all active patients: narrowed to the one", "200, one entry", &all, ended, excerpt);

        let named = self.fhir("Patient?name=zzz", token).await?;
        let ended = named.status == 200 && named.entries().is_empty();
        self.step(
            "a patient by another name: nobody",
            "200, no entry",
            &named,
            ended,
            json!({"entries": named.entries()}),
        );

        let export = self.fhir("$export", token).await?;
        self.step("everything at once", "403", &export, export.status == 403, show::outcome(&export.body));
        Ok(())
    }

    /// An agent whose role is de-identified only reads the same patient and is not told who it is.
    async fn de_identified(&mut self) -> Result<(), Failure> {
        let (_, token) = session(self.hospital, ANALYTICS, "intake", PATIENT).await?;
        let surrogate = token.text("/patient").to_owned();
        let ended = token.status == 200 && surrogate.len() == 36;
        let excerpt = show::secret(&token.body, "access_token");
        let title = "an agent whose role is de-identified only: its token names the same patient by a surrogate";
        self.step(title, "200", &token, ended, excerpt);

        let token = token.text("/access_token").to_owned();
        let read = self.fhir(&format!("Patient/{surrogate}"), &token).await?;
        let hidden = ["name", "telecom", "identifier"].iter().all(|name| read.body.get(*name).is_none());
        let ended = read.status == 200 && read.text("/id") == surrogate && hidden;
        self.step("it reads the patient: a year, a state, no name", "200", &read, ended, read.body.clone());

        let path = "Observation?category=vital-signs&_count=1";
        let found = self.fhir(path, &token).await?;
        let ended = found.status == 200 && !String::from_utf8_lossy(&found.bytes).contains(PATIENT);
        let excerpt = found.body.pointer("/entry/0/resource").cloned().unwrap_or_default();
        self.step("it searches: surrogates, codes and values", "200, without the patient's id", &found, ended, excerpt);

        let real = self.fhir(&format!("Patient/{PATIENT}"), &token).await?;
        let ended = real.status == 403;
        self.step(
            "by its real id the patient is as foreign as any other",
            "403",
            &real,
            ended,
            show::outcome(&real.body),
        );
        Ok(())
    }

    /// The EHR stops filtering: what it sends too much is taken out, and that search is not trusted again.
    async fn hostile_upstream(&mut self) -> Result<(), Failure> {
        let (_, token) = session(self.hospital, INTAKE, "intake", OTHER).await?;
        let token = token.text("/access_token").to_owned();
        let search = format!("Condition?patient={OTHER}&_count=100");
        self.hospital.ehr.faults.on(demo_ehr::Fault::IgnoreParameter("patient".to_owned()));
        let answer = self.fhir(&search, &token).await;
        let seen = self.seen();
        let again = self.fhir(&search, &token).await;
        self.hospital.ehr.faults.clear();
        let (answer, again) = (answer?, again?);
        let entries = answer.entries();
        let own = entries.iter().all(|entry| entry.starts_with("Condition/cond-002-"));
        let ended = answer.status == 200 && own;
        let excerpt = json!({"entries": entries, "the EHR saw": seen});
        let title = "the EHR breaks and ignores `patient`: other patients' conditions come back, none passes";
        self.step(title, "200, own entries only", &answer, ended, excerpt);
        let title = "so that search is refused until `hilum check` proves the filter again";
        self.step(title, "502", &again, again.status == 502, show::outcome(&again.body));

        let path = format!("/tenants/{TENANT}/alerts");
        let alerts = self.hospital.api(Method::GET, &path, &self.hospital.officer, Send::Nothing).await?;
        let ended = alerts.status == 200 && String::from_utf8_lossy(&alerts.bytes).contains("upstream-ignored-filter");
        let newest = alerts.body.pointer("/records/0").cloned().unwrap_or_default();
        let says = words::alert(alerts.text("/records/0/reason"));
        let excerpt =
            json!({"id": newest.get("id"), "time": newest.get("time"), "reason": newest.get("reason"), "says": says});
        self.step("and people were told", "200, an alert", &alerts, ended, excerpt);
        Ok(())
    }

    /// Explain a record, end the session, verify the ledger.
    async fn afterwards(&mut self, token: &str, sid: &str) -> Result<(), Failure> {
        let officer = self.hospital.officer.clone();
        let path = format!("/tenants/{TENANT}/audit?session={}&reason=other-patient&limit=1", segment(sid));
        let found = self.hospital.api(Method::GET, &path, &officer, Send::Nothing).await?;
        let id = found.text("/records/0/id").to_owned();
        let short = id.split_once('/').map_or("", |(_, rest)| rest);
        let path = format!("/tenants/{TENANT}/audit/{short}/explain");
        let why = self.hospital.api(Method::GET, &path, &officer, Send::Nothing).await?;
        let ended = why.status == 200 && !id.is_empty();
        let says = crate::commands::audit::explained(&why.body).into();
        self.step(&format!("the record of the refused patient, explained: {id}"), "200", &why, ended, says);

        let path = format!("/tenants/{TENANT}/sessions/{}/end", segment(sid));
        let operator = self.hospital.operator.clone();
        let end = self.hospital.api(Method::POST, &path, &operator, Send::Json(&json!({}))).await?;
        self.step("the session is ended", "200", &end, end.status == 200, end.body.clone());

        let late = self.fhir(&format!("Patient/{PATIENT}"), token).await?;
        let excerpt = json!({"WWW-Authenticate": late.header("www-authenticate"), "says": show::outcome(&late.body)});
        self.step("the next request with its token", "401", &late, late.status == 401, excerpt);

        let verified = self.hospital.verify().await;
        let title = "the ledger is verified: every frame, hash and signature, as `hilum audit verify` does";
        let (ended, excerpt) = match verified {
            Ok(report) => {
                let excerpt = show::members(&report, &["entries", "commits", "torn_bytes", "logs"]);
                (report.get("clean") == Some(&Value::Bool(true)), excerpt)
            }
            Err(why) => (false, json!({ "says": why.to_string() })),
        };
        self.local(title, "clean", ended, excerpt);
        Ok(())
    }

    /// The newest request the EHR got.
    fn seen(&self) -> Value {
        self.hospital
            .ehr
            .requests
            .last()
            .map_or(Value::Null, |seen| format!("{} {}", seen.method, seen.target()).into())
    }
}
