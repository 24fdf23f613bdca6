"""A browser without script, for the libraries that have none: follows redirects and answers forms."""

import html.parser
import sys
import urllib.parse

import requests


class Forms(html.parser.HTMLParser):
    """The forms of a page: where each goes, and its fields and buttons."""

    def __init__(self):
        super().__init__()
        self.forms = []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form":
            self.forms.append({"action": attrs.get("action", ""), "method": attrs.get("method", "get").lower(), "fields": []})
        elif tag in ("input", "button", "select") and self.forms and attrs.get("name"):
            kind = attrs.get("type", {"button": "submit", "select": "select"}.get(tag, "text"))
            self.forms[-1]["fields"].append((kind, attrs["name"], attrs.get("value", "on"), "checked" in attrs))


def answered(form, said):
    """What a browser would send, with what the person says."""
    out = []
    for kind, name, value, checked in form["fields"]:
        if name in said:
            continue
        if kind == "hidden" or (kind in ("checkbox", "radio") and checked):
            out.append((name, value))
    return out + [(name, value) for name, value in said.items()]


def walk(url, until, says, browser=None):
    """Answers the pages with `says` until the browser is sent to where `until` begins; returns that address.

    `says` are (names of the fields that make a form the one that asks, what to say there).
    """
    browser = browser or requests.Session()
    answer = browser.get(url, allow_redirects=False)
    for _ in range(12):
        if answer.is_redirect:
            target = urllib.parse.urljoin(answer.url, answer.headers["location"])
            if target.startswith(until):
                return target
            answer = browser.get(target, allow_redirects=False)
            continue
        page = Forms()
        page.feed(answer.text)
        for names, said in says:
            forms = [form for form in page.forms if names <= {name for _, name, _, _ in form["fields"]}]
            if forms:
                target = urllib.parse.urljoin(answer.url, forms[0]["action"])
                fields = answered(forms[0], said)
                if forms[0]["method"] == "post":
                    answer = browser.post(target, data=fields, allow_redirects=False)
                else:
                    answer = browser.get(target, params=fields, allow_redirects=False)
                break
        else:
            sys.exit(f"no page that asks: {answer.status_code} {answer.url}\n{answer.text}")
    sys.exit("the pages do not end")


def person(name, patient=None):
    """Signs in with a demonstration's account, picks a patient where that is asked, and allows."""
    return [
        ({"username"}, {"username": name, "password": name}),
        ({"patient"}, {"patient": patient}),
        ({"decision"}, {"decision": "allow"}),
    ]


def check(what, holds, seen=""):
    if not holds:
        sys.exit(f"{what}\n{seen}")
    print(f"  ok  {what}")
