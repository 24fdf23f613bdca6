//! The forms of an HTML page, and what it loads: all that a walk through login, picker and consent needs.
//!
//! Ours, not a browser's parser: pages that work without script say in plain markup what may be sent, and 200 lines that
//! read it weigh less than an HTML engine. What this reader does not understand it leaves out, so a walk stops there.

/// A form and what may be sent with it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Form {
    /// Its `id`.
    pub id: String,
    /// Where it goes; none: the page itself.
    pub action: Option<String>,
    /// Whether it is sent by POST.
    pub post: bool,
    /// Its controls, in order.
    pub controls: Vec<Control>,
}

/// What kind of control.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Carries a value that nobody sees.
    Hidden,
    /// Text of any kind, passwords and text areas too.
    Text,
    /// Sent when ticked.
    Checkbox,
    /// One of several.
    Radio,
    /// An option of a `select`.
    Choice,
    /// Sends the form, with its own value.
    Submit,
}

/// One control.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Control {
    /// What kind.
    pub kind: Kind,
    /// Its name; empty: never sent.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Ticked, chosen.
    pub on: bool,
    /// The words beside it, or on it.
    pub label: String,
    id: String,
}

impl Form {
    /// Whether a control has this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.controls.iter().any(|control| control.name == name)
    }

    /// Its submit buttons.
    pub fn buttons(&self) -> impl Iterator<Item = &Control> {
        self.controls.iter().filter(|control| control.kind == Kind::Submit)
    }

    /// What a browser would send as the page stands, without any button.
    #[must_use]
    pub fn fields(&self) -> Vec<(String, String)> {
        let sent = |control: &&Control| match control.kind {
            Kind::Hidden | Kind::Text => true,
            Kind::Checkbox | Kind::Radio | Kind::Choice => control.on,
            Kind::Submit => false,
        };
        let named = self.controls.iter().filter(|control| !control.name.is_empty());
        named.filter(sent).map(|control| (control.name.clone(), control.value.clone())).collect()
    }
}

/// A page as this reader sees it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Page {
    /// Its forms.
    pub forms: Vec<Form>,
    /// What it loads: scripts, style sheets, pictures, frames.
    pub loads: Vec<String>,
    /// Whether it has inline scripts.
    pub scripted: bool,
    /// Its words.
    pub text: String,
}

enum Token<'a> {
    Open(String, Vec<(String, String)>),
    Close(String),
    Text(&'a str),
}

/// Reads a page.
#[must_use]
pub fn read(html: &str) -> Page {
    let mut reader = Reader::default();
    let mut rest = html;
    while let Some((token, after)) = next(rest) {
        rest = after;
        match token {
            Token::Open(name, attributes) => {
                // What stands in these is not markup.
                if matches!(name.as_str(), "script" | "style") {
                    let end = find(rest, &format!("</{name}")).unwrap_or(rest.len());
                    let inner = rest.get(..end).unwrap_or_default();
                    reader.page.scripted |= name == "script" && !inner.trim().is_empty();
                    rest = rest.get(end..).unwrap_or_default();
                }
                reader.open(&name, &attributes);
            }
            Token::Close(name) => reader.close(&name),
            Token::Text(text) => reader.text(&decode(text)),
        }
    }
    reader.finish()
}

/// Where `needle` (lower case) stands in `text`, in whatever case.
fn find(text: &str, needle: &str) -> Option<usize> {
    text.to_ascii_lowercase().find(needle)
}

fn next(text: &str) -> Option<(Token<'_>, &str)> {
    if text.is_empty() {
        return None;
    }
    if let Some(comment) = text.strip_prefix("<!--") {
        let after = comment.find("-->").and_then(|at| comment.get(at + 3..)).unwrap_or_default();
        return Some((Token::Text(""), after));
    }
    let is_tag = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '!');
    match text.strip_prefix('<') {
        Some(rest) if is_tag(rest) => Some(tag(rest)),
        Some(rest) => {
            let end = rest.find('<').unwrap_or(rest.len());
            Some((Token::Text(text.get(..=end)?), rest.get(end..)?))
        }
        None => {
            let end = text.find('<').unwrap_or(text.len());
            Some((Token::Text(text.get(..end)?), text.get(end..)?))
        }
    }
}

/// A tag, from after its `<`.
fn tag(text: &str) -> (Token<'_>, &str) {
    let end = text.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(text.len());
    let (name, mut rest) = text.split_at_checked(end).unwrap_or((text, ""));
    let name = name.trim_end_matches('/').to_ascii_lowercase();
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        if rest.is_empty() {
            break;
        }
        if let Some(after) = rest.strip_prefix('>') {
            rest = after;
            break;
        }
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '=' | '>' | '/')).unwrap_or(rest.len());
        let (key, after) = rest.split_at_checked(end.max(1)).unwrap_or((rest, ""));
        let (value, after) = value(after);
        attributes.push((key.to_ascii_lowercase(), decode(value)));
        rest = after;
    }
    match name.strip_prefix('/') {
        Some(name) => (Token::Close(name.to_owned()), rest),
        None => (Token::Open(name, attributes), rest),
    }
}

/// The value of an attribute, if one follows.
fn value(text: &str) -> (&str, &str) {
    let trimmed = text.trim_start();
    let Some(after) = trimmed.strip_prefix('=') else { return ("", text) };
    let after = after.trim_start();
    for quote in ['"', '\''] {
        if let Some(inner) = after.strip_prefix(quote) {
            return inner.split_once(quote).unwrap_or((inner, ""));
        }
    }
    let end = after.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(after.len());
    after.split_at_checked(end).unwrap_or((after, ""))
}

/// Character references: the five of XML, `&nbsp;`, and numbers. An unknown one stays as it is.
#[must_use]
pub fn decode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let known = after.split_once(';').and_then(|(name, after)| Some((reference(name)?, after)));
        match known {
            Some((character, after)) => {
                out.push(character);
                rest = after;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn reference(name: &str) -> Option<char> {
    let number = name.strip_prefix('#');
    match number.map(|digits| digits.strip_prefix(['x', 'X']).ok_or(digits)) {
        Some(Ok(hex)) => u32::from_str_radix(hex, 16).ok().and_then(char::from_u32),
        Some(Err(decimal)) => decimal.parse().ok().and_then(char::from_u32),
        None => match name {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            "nbsp" => Some('\u{a0}'),
            _ => None,
        },
    }
}

#[derive(Default)]
struct Reader {
    page: Page,
    /// Controls with the form they belong to: its number, or the id they name.
    controls: Vec<(Option<usize>, String, Control)>,
    form: Option<usize>,
    /// Labels that name a control by its id.
    labels: Vec<(String, String)>,
    label: Option<(String, String, usize)>,
    /// The control whose text is being read: a button, an option, a text area.
    inside: Option<(&'static str, usize)>,
    select: Option<(String, String)>,
}

impl Reader {
    fn open(&mut self, name: &str, attributes: &[(String, String)]) {
        let of = |key: &str| attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
        let text = |key: &str| of(key).unwrap_or_default();
        match name {
            "form" => {
                let post = text("method").eq_ignore_ascii_case("post");
                let action = of("action").filter(|action| !action.is_empty());
                self.page.forms.push(Form { id: text("id"), action, post, controls: Vec::new() });
                self.form = Some(self.page.forms.len() - 1);
            }
            "input" | "button" | "textarea" => {
                let kind = kind(name, &text("type").to_ascii_lowercase());
                let Some(kind) = kind.filter(|_| of("disabled").is_none()) else { return };
                let value = match (kind, of("value")) {
                    (Kind::Checkbox | Kind::Radio, None) => "on".to_owned(),
                    (_, value) => value.unwrap_or_default(),
                };
                let label = if kind == Kind::Submit { value.clone() } else { text("aria-label") };
                let on = of("checked").is_some();
                let control = Control { kind, name: text("name"), value, on, label, id: text("id") };
                self.controls.push((self.form, text("form"), control));
                match name {
                    "button" => self.inside = Some(("button", self.controls.len() - 1)),
                    "textarea" => self.inside = Some(("textarea", self.controls.len() - 1)),
                    _ => {}
                }
            }
            "select" => self.select = Some((text("name"), text("form"))),
            "option" => {
                let Some((name, form)) = self.select.clone() else { return };
                let on = of("selected").is_some();
                let control = Control {
                    kind: Kind::Choice,
                    name,
                    value: text("value"),
                    on,
                    label: String::new(),
                    id: text("id"),
                };
                self.controls.push((self.form, form, control));
                self.inside = Some(("option", self.controls.len() - 1));
            }
            "label" => self.label = Some((text("for"), String::new(), self.controls.len())),
            "script" | "img" | "iframe" | "frame" | "embed" | "source" => self.page.loads.extend(of("src")),
            "link" if !text("rel").eq_ignore_ascii_case("canonical") => self.page.loads.extend(of("href")),
            "object" => self.page.loads.extend(of("data")),
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        match name {
            "form" => self.form = None,
            "select" => self.select = None,
            "label" => {
                let Some((id, text, before)) = self.label.take() else { return };
                let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                if id.is_empty() {
                    for (_, _, control) in self.controls.iter_mut().skip(before) {
                        control.label.clone_from(&text);
                    }
                } else {
                    self.labels.push((id, text));
                }
            }
            _ => {
                if self.inside.is_some_and(|(inside, _)| inside == name) {
                    self.inside = None;
                }
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.page.text.push_str(text);
        if let Some((_, label, _)) = &mut self.label {
            label.push_str(text);
        }
        let Some((inside, index)) = self.inside else { return };
        let Some((_, _, control)) = self.controls.get_mut(index) else { return };
        match inside {
            "textarea" => control.value.push_str(text),
            _ => {
                control.label.push_str(text.trim());
                if inside == "option" && control.value.is_empty() {
                    control.value = text.trim().to_owned();
                }
            }
        }
    }

    fn finish(mut self) -> Page {
        self.page.text = self.page.text.split_whitespace().collect::<Vec<_>>().join(" ");
        for (form, named, mut control) in self.controls {
            if let Some((_, text)) = self.labels.iter().find(|(id, _)| !control.id.is_empty() && *id == control.id) {
                control.label.clone_from(text);
            }
            let by_id = self.page.forms.iter().position(|form| !named.is_empty() && form.id == named);
            let owner = if named.is_empty() { form } else { by_id };
            if let Some(form) = owner.and_then(|index| self.page.forms.get_mut(index)) {
                form.controls.push(control);
            }
        }
        self.page
    }
}

fn kind(element: &str, of: &str) -> Option<Kind> {
    match (element, of) {
        ("button", "" | "submit") | ("input", "submit" | "image") => Some(Kind::Submit),
        ("button", _) | ("input", "button" | "reset" | "file") => None,
        ("input", "hidden") => Some(Kind::Hidden),
        ("input", "checkbox") => Some(Kind::Checkbox),
        ("input", "radio") => Some(Kind::Radio),
        _ => Some(Kind::Text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_page_is_read() {
        let page = read(
            r#"<!doctype html><title>Sign in</title><link rel=stylesheet href=/a.css><script>var x = "<form>";</script>
            <form method="post" action='/login?a=1&amp;b=2'><input type=hidden name=csrf value="x&quot;y">
            <label for=u>Name</label><input id=u name=username><INPUT TYPE=password NAME=password>
            <button>Sign in</button><button type=button name=no>Show</button></form>"#,
        );
        assert_eq!(page.loads, ["/a.css"]);
        assert!(page.scripted);
        let [form] = page.forms.as_slice() else { panic!("{page:?}") };
        assert_eq!((form.action.as_deref(), form.post), (Some("/login?a=1&b=2"), true));
        assert_eq!(
            form.fields(),
            [("csrf", "x\"y"), ("username", ""), ("password", "")].map(|(a, b)| (a.into(), b.into()))
        );
        assert_eq!(form.controls[1].label, "Name");
        assert_eq!(form.buttons().map(|button| button.label.as_str()).collect::<Vec<_>>(), ["Sign in"]);
    }

    #[test]
    fn boxes_radios_and_choices_are_sent_as_a_browser_sends_them() {
        let page = read(
            r#"<form><label><input type=checkbox name=grant value=a checked> Lab <b>results</b></label>
            <input type=checkbox name=grant value=b><input type=radio name=patient value=1>
            <input type=radio name=patient value=2 checked><select name=s><option value=x>X<option selected>Y</select>
            <textarea name=t>1 &lt; 2</textarea><input name=off disabled></form>
            <!-- <form> --><button form=other name=decision value=allow>Allow</button><form id=other></form>"#,
        );
        let sent = page.forms[0].fields();
        let sent: Vec<String> = sent.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(sent, ["grant=a", "patient=2", "s=Y", "t=1 < 2"]);
        assert_eq!(page.forms[0].controls[0].label, "Lab results");
        assert_eq!(page.forms.len(), 2);
        assert_eq!(page.forms[1].controls[0].value, "allow");
    }

    #[test]
    fn broken_markup_ends_and_loses_nothing_that_was_closed() {
        for html in ["<", "<a", "<a b=\"", "<!--", "</", "<form><input name=a", "a < b", "&#xfffffff;&;&", "<script>"] {
            let _ = read(html);
        }
        assert_eq!(read("a < b &amp; c &unknown; d").text, "a < b & c &unknown; d");
        assert_eq!(read("<form><input name=a value=1></form><x").forms[0].fields().len(), 1);
    }
}
