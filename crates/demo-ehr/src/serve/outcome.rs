//! OperationOutcomes as a careless server writes them: the diagnostics say far too much, on purpose.

use serde_json::{Value, json};

/// One issue, with free text.
pub(crate) fn outcome(code: &str, diagnostics: &str) -> Value {
    json!({
        "resourceType": "OperationOutcome",
        "text": {"status": "generated", "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\"><h1>Operation Outcome</h1><pre>{}</pre></div>", html(diagnostics))},
        "issue": [{"severity": "error", "code": code, "diagnostics": diagnostics}]
    })
}

/// What a write says that went well.
pub(crate) fn done(diagnostics: &str) -> Value {
    json!({
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "information", "code": "informational", "diagnostics": diagnostics}]
    })
}

/// What a read of an absent instance says: it names the table and another patient.
pub(crate) fn not_found(kind: &str, id: &str, bystander: &str) -> Value {
    outcome(
        "processing",
        &format!(
            "HAPI-2001: Resource {kind}/{id} is not known (select RES_ID from HFJ_RESOURCE where RES_TYPE='{kind}' \
             and FHIR_ID='{id}'; nearest row belongs to {bystander})"
        ),
    )
}

/// What a failure says: a stack trace, SQL, and the ids it was told to leak.
pub(crate) fn stack_trace(ids: &str) -> Value {
    outcome(
        "exception",
        &format!(
            "java.lang.NullPointerException: subject of {ids}\n\tat ca.example.fhir.jpa.dao.BaseDao.read(BaseDao.java:1432)\n\t\
             at ca.example.fhir.rest.RestfulServer.handle(RestfulServer.java:1201)\nCaused by: org.postgresql.util.PSQLException: \
             select * from hfj_res_ver where sp_value='{ids}' [user=fhir password=changeit host=10.20.30.40]"
        ),
    )
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
