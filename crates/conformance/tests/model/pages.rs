//! The model's pages: login, picker, consent, without script.

use conformance::jose::nonce;

use super::answers::{Reply, redirect};
use super::{Code, Form, Model, PASSWORD, REDIRECT, Visit, get, repeated};

impl Model {
    fn html(&self, status: u16, body: &str) -> Reply {
        let reply =
            Reply { status, headers: vec![("content-type", "text/html; charset=utf-8".into())], body: body.to_owned() };
        let reply = reply
            .with("referrer-policy", "no-referrer")
            .with("cache-control", "no-store")
            .with("x-content-type-options", "nosniff");
        if !self.keeps("frames") {
            return reply;
        }
        reply
            .with("content-security-policy", "default-src 'none'; frame-ancestors 'none'")
            .with("x-frame-options", "DENY")
    }

    fn back(&self, params: &Form, result: (&str, &str)) -> Reply {
        let state = get(params, "state");
        let state = if self.keeps("whole state") { state } else { state.get(..8).unwrap_or(state) };
        let mut query = vec![(result.0.to_owned(), result.1.to_owned()), ("state".into(), state.to_owned())];
        if self.keeps("iss") {
            query.push(("iss".into(), self.base.clone()));
        }
        redirect(303, &format!("{}?{}", get(params, "redirect_uri"), conformance::http::encode(&query)))
    }

    pub(super) fn authorize(&self, params: &Form) -> Reply {
        let count = |name: &str| params.iter().filter(|(have, _)| have == name).count();
        let uri = get(params, "redirect_uri");
        let exact = uri == REDIRECT || (!self.keeps("exact redirect") && uri.starts_with(REDIRECT));
        let known = get(params, "client_id") == "pub" || !self.keeps("known client");
        if !exact || !known || count("redirect_uri") != 1 || count("client_id") > 1 {
            return self.html(400, "<p>No such app.</p>");
        }
        let challenge = get(params, "code_challenge");
        let shaped =
            challenge.len() == 43 && challenge.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'));
        let rules = [
            ("once", !repeated(params), "invalid_request"),
            ("only code", get(params, "response_type") == "code", "unsupported_response_type"),
            ("state", !get(params, "state").is_empty(), "invalid_request"),
            ("S256", get(params, "code_challenge_method") == "S256", "invalid_request"),
            ("challenge's shape", shaped, "invalid_request"),
            ("aud", get(params, "aud") == format!("{}/fhir", self.base), "invalid_request"),
            ("scope asked", !get(params, "scope").is_empty(), "invalid_scope"),
        ];
        if let Some((_, _, error)) = rules.iter().find(|(rule, held, _)| !held && self.keeps(rule)) {
            return self.back(params, ("error", error));
        }
        if get(params, "prompt") == "none" {
            return self.back(params, ("error", "login_required"));
        }
        let (id, visit) = (nonce(), Visit { params: params.clone(), csrf: nonce(), ..Visit::default() });
        self.state.lock().unwrap().visits.insert(id.clone(), visit);
        redirect(303, "/page").with("set-cookie", &format!("sid={id}; HttpOnly; SameSite=Lax; Path=/"))
    }

    pub(super) fn page(&self, cookie: &str, form: Option<&Form>) -> Reply {
        let id = cookie.strip_prefix("sid=").unwrap_or_default().to_owned();
        let Some(mut visit) = self.state.lock().unwrap().visits.get(&id).cloned() else {
            return self.html(403, "<p>Start again.</p>");
        };
        let Some(form) = form else { return self.show(&visit) };
        if self.keeps("csrf") && get(form, "csrf") != visit.csrf {
            return self.html(403, "<p>Start again.</p>");
        }
        let after = if self.keeps("303") { 303 } else { 307 };
        if !visit.signed_in {
            visit.signed_in =
                get(form, "username") == "alice" && (get(form, "password") == PASSWORD || !self.keeps("password"));
            if !visit.signed_in {
                return self.html(401, "<p>No.</p>");
            }
        } else if !visit.picked {
            visit.picked = get(form, "patient") == "p1" || !self.keeps("offered patients");
            if !visit.picked {
                return self.html(403, "<p>No.</p>");
            }
        } else {
            return self.decided(&visit, form);
        }
        self.state.lock().unwrap().visits.insert(id, visit);
        redirect(after, "/page")
    }

    fn show(&self, visit: &Visit) -> Reply {
        let csrf = format!("<input type=hidden name=csrf value=\"{}\">", visit.csrf);
        let fields = match (visit.signed_in, visit.picked) {
            (false, _) => "<input name=username><input type=password name=password><button>Sign in</button>",
            (true, false) => "<label><input type=radio name=patient value=p1>Ann</label><button>Go on</button>",
            _ => {
                "<label><input type=checkbox name=grant value=all checked>Your record, also offline</label>\
                <button name=decision value=allow>Allow</button><button name=decision value=deny>Deny</button>"
            }
        };
        self.html(200, &format!("<!doctype html><form method=post action=/page>{csrf}{fields}</form>"))
    }

    fn decided(&self, visit: &Visit, form: &Form) -> Reply {
        let allowed = get(form, "decision") == "allow" && get(form, "grant") == "all";
        if !allowed && self.keeps("consent") {
            return self.back(&visit.params, ("error", "access_denied"));
        }
        let code = Code {
            client: get(&visit.params, "client_id").into(),
            redirect_uri: get(&visit.params, "redirect_uri").into(),
            challenge: get(&visit.params, "code_challenge").into(),
            scope: get(&visit.params, "scope").into(),
            family: nonce(),
            used: false,
        };
        let id = nonce();
        self.state.lock().unwrap().codes.insert(id.clone(), code);
        self.back(&visit.params, ("code", &id))
    }
}
