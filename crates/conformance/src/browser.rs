//! A small browser: cookies, redirects by hand, forms answered by rules. It runs no script, so it walks where a person
//! without script can.

use url::Url;

use crate::config::Forms;
use crate::html::{self, Control, Form, Kind};
use crate::http::{Answer, Http, Send, encode};

/// Pages and redirects of one walk: a login at another server takes about ten.
const STEPS_MAX: usize = 30;

/// What the person in front of the browser does.
#[derive(Clone, Debug, Default)]
pub struct Conduct {
    /// Values by field name: user name, password.
    pub fields: Vec<(String, String)>,
    /// The patient they pick.
    pub patient: Option<String>,
    /// What they say on the consent page.
    pub decision: Decision,
    /// The first page of this kind is not answered but returned.
    pub stop_at: Option<PageKind>,
}

/// What is said on the consent page.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Decision {
    /// Allow what is ticked.
    #[default]
    Allow,
    /// Refuse.
    Deny,
    /// Un-tick every box whose label or value holds one of these words (an empty word is in all), then allow.
    Without(Vec<String>),
}

/// What a page asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PageKind {
    /// Who are you.
    Login,
    /// Which patient.
    Picker,
    /// May the app have this.
    Consent,
    /// A form with nothing to fill in: it is passed on.
    Passing,
}

/// A page that came.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its address.
    pub url: String,
    /// As it came.
    pub answer: Answer,
    /// Its forms.
    pub html: html::Page,
    /// What it asks, and which of its forms does.
    pub asks: Option<(PageKind, usize)>,
}

impl Page {
    /// The form that asks.
    #[must_use]
    pub fn form(&self) -> Option<&Form> {
        self.html.forms.get(self.asks?.1)
    }

    /// What it asks.
    #[must_use]
    pub fn kind(&self) -> Option<PageKind> {
        self.asks.map(|(kind, _)| kind)
    }
}

/// A redirect that came.
#[derive(Clone, Debug)]
pub struct Hop {
    /// The page it came from was a form sent by POST.
    pub after_post: bool,
    /// 301 … 308.
    pub status: u16,
    /// As it came.
    pub answer: Answer,
}

/// Where a walk ended.
#[derive(Clone, Debug)]
pub enum End {
    /// At the app: the whole `Location`.
    App(String),
    /// At a page with nothing to answer, or where it was told to stop.
    Page(Box<Page>),
    /// Nowhere: why, in words.
    Lost(String),
}

/// A walk and all that came along it.
#[derive(Clone, Debug)]
pub struct Walk {
    /// Every page.
    pub pages: Vec<Page>,
    /// Every redirect.
    pub hops: Vec<Hop>,
    /// Where it ended.
    pub end: End,
}

#[derive(Clone, Debug)]
struct Cookie {
    host: String,
    path: String,
    name: String,
    value: String,
}

/// A browser with its cookies.
#[derive(Clone)]
pub struct Browser {
    http: Http,
    forms: Forms,
    /// Where the app is: whatever begins so is not followed.
    apps: Vec<String>,
    cookies: Vec<Cookie>,
}

impl Browser {
    /// A browser without cookies.
    #[must_use]
    pub fn new(http: Http, forms: Forms, apps: Vec<String>) -> Self {
        Self { http, forms, apps, cookies: Vec::new() }
    }

    /// The same browser with these addresses of the app as well.
    pub fn also_at(&mut self, app: &str) {
        self.apps.push(app.to_owned());
    }

    /// Sends one request with the cookies that belong to it, and keeps those that come.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn send(&mut self, mut send: Send) -> Result<Answer, String> {
        let url = Url::parse(&send.url).map_err(|why| why.to_string())?;
        let cookies = self.cookie_header(&url);
        if !cookies.is_empty() {
            send = send.header("cookie", &cookies);
        }
        let answer = self.http.send(send).await?;
        for value in answer.headers.get_all("set-cookie") {
            self.keep(&url, value.to_str().unwrap_or_default());
        }
        Ok(answer)
    }

    /// Follows redirects and answers forms until the app, a dead end or the page to stop at.
    pub async fn walk(&mut self, first: Send, conduct: &Conduct) -> Walk {
        let mut walk = Walk { pages: Vec::new(), hops: Vec::new(), end: End::Lost("too many steps".into()) };
        let mut next = first;
        let mut answered: Vec<PageKind> = Vec::new();
        for _ in 0..STEPS_MAX {
            let (after_post, url) = (next.method == http::Method::POST, next.url.clone());
            let repeated = next.clone();
            let answer = match self.send(next).await {
                Ok(answer) => answer,
                Err(why) => {
                    walk.end = End::Lost(why);
                    return walk;
                }
            };
            if (301..=308).contains(&answer.status) && answer.headers.contains_key("location") {
                let location = answer.header("location");
                walk.hops.push(Hop { after_post, status: answer.status, answer: answer.clone() });
                if self.is_app(&location) {
                    walk.end = End::App(location);
                    return walk;
                }
                let Some(target) = join(&url, &location) else {
                    walk.end = End::Lost("a redirect to what is no URL".into());
                    return walk;
                };
                // RFC 9110 §15.4: 307 and 308 send the body again; that is what AZ-14 is about.
                next = if matches!(answer.status, 307 | 308) {
                    Send { url: target, ..repeated }
                } else {
                    Send::get(&target)
                };
                continue;
            }
            let page = self.page(url, answer);
            walk.pages.push(page.clone());
            let stop = page.kind().is_none() || (conduct.stop_at.is_some() && page.kind() == conduct.stop_at);
            // A page that asks the same again was answered wrongly; the picker and consent may come once per login.
            let again = page.kind().is_some_and(|kind| kind != PageKind::Passing && answered.contains(&kind));
            let filled = if stop || again || page.answer.status >= 400 { None } else { self.fill(&page, conduct) };
            answered.extend(page.kind());
            match filled {
                Some(send) => next = send,
                None => {
                    walk.end = End::Page(Box::new(page));
                    return walk;
                }
            }
        }
        walk
    }

    fn is_app(&self, location: &str) -> bool {
        self.apps.iter().any(|app| {
            location.strip_prefix(app.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['?', '#', '&']))
        })
    }

    /// Reads a page and finds what it asks.
    #[must_use]
    pub fn page(&self, url: String, answer: Answer) -> Page {
        let is_html = answer.header("content-type").to_ascii_lowercase().starts_with("text/html");
        let html = if is_html { html::read(&answer.text()) } else { html::Page::default() };
        let kinds = html.forms.iter().enumerate().filter_map(|(index, form)| Some((self.kind(form)?, index)));
        // A page may have a search form or a sign-out button beside what it asks.
        let rank = |kind: PageKind| match kind {
            PageKind::Login => 0,
            PageKind::Picker => 1,
            PageKind::Consent => 2,
            PageKind::Passing => 3,
        };
        let asks = kinds.min_by_key(|(kind, _)| rank(*kind));
        Page { url, answer, html, asks }
    }

    fn kind(&self, form: &Form) -> Option<PageKind> {
        if self.forms.login.iter().any(|name| form.has(name)) {
            return Some(PageKind::Login);
        }
        if form.has(&self.forms.patient) {
            return Some(PageKind::Picker);
        }
        if form.buttons().any(|button| self.says(button, &self.forms.allow)) {
            return Some(PageKind::Consent);
        }
        // Only a form that a page would send by itself: by POST, with nothing to fill in.
        let silent = form.controls.iter().all(|control| matches!(control.kind, Kind::Hidden | Kind::Submit));
        (silent && form.post && form.buttons().count() <= 1).then_some(PageKind::Passing)
    }

    /// Whether a button is the one meant: `name=value`, or words on it.
    fn says(&self, button: &Control, meant: &[String]) -> bool {
        meant.iter().any(|meant| match meant.split_once('=') {
            Some((name, value)) => button.name == name && button.value == value,
            None => button.label.eq_ignore_ascii_case(meant),
        })
    }

    /// The answer to a page; `None` when it cannot be given.
    #[must_use]
    pub fn fill(&self, page: &Page, conduct: &Conduct) -> Option<Send> {
        let form = page.form()?;
        let mut fields = form.fields();
        let mut button = form.buttons().next();
        match page.kind()? {
            PageKind::Login => {
                if conduct.fields.is_empty() {
                    return None;
                }
                for (name, value) in &conduct.fields {
                    let place = fields.iter_mut().find(|(field, _)| field == name);
                    if let Some((_, field)) = place {
                        field.clone_from(value);
                    }
                }
            }
            PageKind::Picker => {
                let patient = conduct.patient.as_deref()?;
                let is_it = |control: &&Control| {
                    control.name == self.forms.patient
                        && (control.value == patient || control.value.strip_prefix("Patient/") == Some(patient))
                };
                let choice = form.controls.iter().find(is_it)?;
                fields.retain(|(name, _)| *name != self.forms.patient);
                if choice.kind == Kind::Submit {
                    button = Some(choice);
                } else {
                    fields.push((choice.name.clone(), choice.value.clone()));
                }
            }
            PageKind::Consent => {
                let deny = conduct.decision == Decision::Deny;
                let meant = if deny { &self.forms.deny } else { &self.forms.allow };
                button = Some(form.buttons().find(|button| self.says(button, meant))?);
                if let Decision::Without(words) = &conduct.decision {
                    let boxes = form.controls.iter().filter(|control| {
                        control.kind == Kind::Checkbox && control.name == self.forms.grant && named(control, words)
                    });
                    for gone in boxes {
                        fields.retain(|(name, value)| *name != gone.name || *value != gone.value);
                    }
                }
            }
            PageKind::Passing => {}
        }
        if let Some(button) = button.filter(|button| !button.name.is_empty()) {
            fields.push((button.name.clone(), button.value.clone()));
        }
        submit(page, form, &fields)
    }

    fn cookie_header(&self, url: &Url) -> String {
        let host = url.host_str().unwrap_or_default();
        let fits = |cookie: &&Cookie| cookie.host == host && url.path().starts_with(&cookie.path);
        let sent: Vec<String> =
            self.cookies.iter().filter(fits).map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        sent.join("; ")
    }

    fn keep(&mut self, url: &Url, text: &str) {
        let mut parts = text.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { return };
        let mut path = String::from("/");
        let mut gone = value.is_empty();
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key.to_ascii_lowercase().as_str() {
                "path" if value.starts_with('/') => path = value.to_owned(),
                "max-age" => gone |= value.starts_with(['0', '-']),
                _ => {}
            }
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        self.cookies.retain(|cookie| cookie.name != name || cookie.host != host || cookie.path != path);
        if !gone {
            self.cookies.push(Cookie { host, path, name: name.to_owned(), value: value.to_owned() });
        }
    }
}

fn named(control: &Control, words: &[String]) -> bool {
    let (label, value) = (control.label.to_lowercase(), control.value.to_lowercase());
    words.iter().map(|word| word.to_lowercase()).any(|word| label.contains(&word) || value.contains(&word))
}

/// A form as a browser would send it.
#[must_use]
pub fn submit(page: &Page, form: &Form, fields: &[(String, String)]) -> Option<Send> {
    let target = match &form.action {
        Some(action) => join(&page.url, action)?,
        None => page.url.clone(),
    };
    if form.post {
        // What a browser says of where the form stood; servers may ask for it against forged requests.
        let origin = Url::parse(&page.url).ok()?.origin().ascii_serialization();
        return Some(Send::form(&target, fields).header("origin", &origin).header("sec-fetch-site", "same-origin"));
    }
    let bare = target.split('?').next().unwrap_or_default();
    Some(Send::get(&format!("{bare}?{}", encode(fields))))
}

fn join(base: &str, reference: &str) -> Option<String> {
    Some(Url::parse(base).ok()?.join(reference).ok()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn browser() -> Browser {
        Browser::new(Http::new(None).unwrap(), Forms::default(), vec!["http://127.0.0.1:9/cb".into()])
    }

    fn page(html: &str) -> Page {
        let mut headers = http::HeaderMap::new();
        headers.insert("content-type", "text/html; charset=utf-8".parse().unwrap());
        let answer = Answer { status: 200, headers, body: html.as_bytes().to_vec() };
        browser().page("http://127.0.0.1:1/t/authorize?x=1".into(), answer)
    }

    fn sent(html: &str, conduct: &Conduct) -> Option<String> {
        browser().fill(&page(html), conduct).map(|send| String::from_utf8(send.body).unwrap())
    }

    #[test]
    fn pages_are_told_apart_and_answered() {
        let login = "<form method=post><input type=hidden name=csrf value=c><input name=username><input name=password type=password><button>Go</button></form>";
        let fields = vec![("username".to_owned(), "alice".to_owned()), ("password".to_owned(), "p&w".to_owned())];
        let conduct = Conduct { fields, patient: Some("2".into()), ..Conduct::default() };
        assert_eq!(page(login).kind(), Some(PageKind::Login));
        assert_eq!(sent(login, &conduct).unwrap(), "csrf=c&username=alice&password=p%26w");
        assert_eq!(sent(login, &Conduct::default()), None, "nobody is there to sign in");
        for picker in [
            "<form method=post><input type=radio name=patient value=1 checked><input type=radio name=patient value=2><button>Go</button></form>",
            "<form method=post><button name=patient value=1>A</button><button name=patient value=2>B</button></form>",
        ] {
            assert_eq!(page(picker).kind(), Some(PageKind::Picker));
            assert_eq!(sent(picker, &conduct).unwrap(), "patient=2");
            let other = Conduct { patient: Some("3".into()), ..conduct.clone() };
            assert_eq!(sent(picker, &other), None, "a patient that is not offered cannot be picked");
        }
    }

    #[test]
    fn consent_is_given_refused_or_given_in_part() {
        let consent = "<form method=post><input type=hidden name=csrf value=c><label><input type=checkbox name=grant value=g1 checked>Laboratory</label>\
            <label><input type=checkbox name=grant value=g2 checked>Vital signs</label>\
            <button name=decision value=deny>No</button><button name=decision value=allow>Yes</button></form>";
        let with = |decision| sent(consent, &Conduct { decision, ..Conduct::default() }).unwrap();
        assert_eq!(with(Decision::Allow), "csrf=c&grant=g1&grant=g2&decision=allow");
        assert_eq!(with(Decision::Deny), "csrf=c&grant=g1&grant=g2&decision=deny");
        assert_eq!(with(Decision::Without(vec!["labor".into()])), "csrf=c&grant=g2&decision=allow");
        assert_eq!(with(Decision::Without(vec![String::new()])), "csrf=c&decision=allow");
    }

    #[test]
    fn only_the_app_itself_ends_a_walk() {
        let browser = browser();
        for (location, app) in [
            ("http://127.0.0.1:9/cb?code=1", true),
            ("http://127.0.0.1:9/cb", true),
            ("http://127.0.0.1:9/cbx?code=1", false),
            ("http://127.0.0.1:1/cb?code=1", false),
        ] {
            assert_eq!(browser.is_app(location), app, "{location}");
        }
    }

    #[test]
    fn cookies_go_where_they_belong() {
        let mut browser = browser();
        let url = Url::parse("http://127.0.0.1:1/t/authorize").unwrap();
        browser.keep(&url, "a=1; Path=/t; HttpOnly");
        browser.keep(&url, "b=2; Path=/u");
        browser.keep(&url, "c=3");
        assert_eq!(browser.cookie_header(&url), "a=1; c=3");
        browser.keep(&url, "a=; Max-Age=0; Path=/t");
        assert_eq!(browser.cookie_header(&url), "c=3");
        assert_eq!(browser.cookie_header(&Url::parse("http://localhost:1/t").unwrap()), "");
    }
}
