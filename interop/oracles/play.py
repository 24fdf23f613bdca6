"""One request as it is sent, with the pages and files that follow from its answer."""

import generate

PAGES_MAX = 12


class Played:
    """What one session got for one request: the answer and the pages after it."""

    def __init__(self, pages, whole):
        self.pages, self.whole = pages, whole

    @property
    def status(self):
        return self.pages[0].status


def play(wire, session, asked, thief=None, swap=None):
    """Sends the request and follows `next` to the end, or for `PAGES_MAX` pages. `thief` is another session's token;
    `swap` is (world A's upstream, world B's) where the request goes to world B."""
    target = f"{session.path}/{generate.target(asked)}" if generate.target(asked) or "raw" in asked else session.path
    body, headers = generate.body(asked)
    if swap:
        target = target.replace(*swap)
        body = body.replace(swap[0].encode(), swap[1].encode()) if body else body
    headers = {**headers, **asked.get("headers", {})}
    headers.setdefault("Accept", "application/fhir+json")
    sent = [("Authorization", f"Bearer {session.token}"), *headers.items()]
    pages = [wire.call(asked["method"], target, sent, body if body is not None else b"" if asked["method"] == "POST" else None)]
    whole = True
    if asked.get("files"):
        for path in attachments(pages[0], session):
            for token in (session.token, thief or session.token):
                pages.append(wire.call("GET", path, [("Authorization", f"Bearer {token}"), ("Accept", asked["files"])]))
                pages[-1].headers.append(("x-file", path.split("/Binary/")[1].split("?")[0]))
                if token == thief:
                    pages[-1].headers.append(("x-stolen", "1"))
        return Played(pages, True)
    while (link := next_link(pages[-1])) is not None:
        if len(pages) >= PAGES_MAX:
            whole = False
            break
        path = link[link.index("/", len("http://")):] if link.startswith("http://") else link
        if thief and asked.get("steal"):
            pages.append(wire.call("GET", path, [("Authorization", f"Bearer {thief}"), ("Accept", "application/fhir+json")]))
            pages[-1].headers.append(("x-stolen", "1"))
            whole = False
            break
        pages.append(wire.call("GET", path, [("Authorization", f"Bearer {session.token}"), ("Accept", "application/fhir+json")]))
        if pages[-1].status != 200:
            whole = False
            break
    return Played(pages, whole)


def attachments(answer, session):
    """Paths of the files that a released document leads to."""
    if answer.status != 200 or not isinstance(answer.body, dict):
        return []
    urls = [content.get("attachment", {}).get("url", "") for content in answer.body.get("content", [])]
    return [url[url.index("/", len("http://")):] for url in urls if url.startswith("http://") and f"{session.path}/Binary/" in url]


def next_link(answer):
    if answer.status != 200 or not isinstance(answer.body, dict) or answer.body.get("resourceType") != "Bundle":
        return None
    return next((link.get("url") for link in answer.body.get("link", []) if link.get("relation") == "next"), None)
