"""An upstream that asks for SMART Backend Services: a token endpoint and a reverse proxy that lets no request by without its token.

The assertion is checked against the JWK Set that the gate publishes, by `openssl` and by hand.
"""

import base64
import http.client
import http.server
import json
import pathlib
import secrets
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request

from gate import b64, der_signature

TOKEN_SECONDS = 60
# SubjectPublicKeyInfo of an uncompressed P-384 point, up to the point.
P384 = bytes.fromhex("3076301006072a8648ce3d020106052b81040022036200")


class Protected:
    def __init__(self, port, upstream, client, jwks_url):
        self.port, self.upstream, self.client, self.jwks_url = port, upstream, client, jwks_url
        self.base = f"http://127.0.0.1:{port}/fhir"
        self.token_url = f"http://127.0.0.1:{port}/token"
        self.tokens, self.used = {}, set()
        self.counts = {"tokens": 0, "refused": 0, "passed": 0}
        self.lock = threading.Lock()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), self.handler())
        self.server.daemon_threads = True

    def start(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def issue(self, form):
        """A token for a good assertion (SMART Backend Services, RFC 7523), or the reason why not."""
        if form.get("grant_type") != "client_credentials" or form.get("client_assertion_type") != (
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"):
            return None, "not a backend services request"
        header, claims, signature = (form.get("client_assertion", "") + "..").split(".")[:3]
        try:
            head, said = json.loads(unb64(header)), json.loads(unb64(claims))
        except ValueError:
            return None, "the assertion is no JWT"
        now = time.time()
        if head.get("alg") != "ES384" or said.get("iss") != self.client or said.get("sub") != self.client:
            return None, f"wrong algorithm or client: {head} {said}"
        if said.get("aud") != self.token_url or not now - 5 < said.get("exp", 0) <= now + 305:
            return None, f"wrong audience or time: {said}"
        with self.lock:
            if said.get("jti") in self.used or not said.get("jti"):
                return None, "the assertion was used before"
            self.used.add(said["jti"])
        with urllib.request.urlopen(self.jwks_url, timeout=5) as answer:
            keys = [key for key in json.load(answer)["keys"] if key.get("kid") == head.get("kid")]
        if len(keys) != 1 or "d" in keys[0] or not verify(keys[0], f"{header}.{claims}".encode(), unb64(signature)):
            return None, "the signature does not fit the published key"
        token = secrets.token_urlsafe(24)
        with self.lock:
            self.tokens[token] = now + TOKEN_SECONDS
            self.counts["tokens"] += 1
        return {"access_token": token, "token_type": "bearer", "expires_in": TOKEN_SECONDS, "scope": form.get("scope", "")}, None

    def handler(self):
        outer = self
        local = threading.local()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def answer(self, status, body, kind="application/json", more=()):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                for name, value in more:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                if self.path != "/token":
                    return self.answer(404, b"{}")
                granted, why = outer.issue(dict(urllib.parse.parse_qsl(body)))
                if why:
                    print(f"  token endpoint refused: {why}", flush=True)
                    return self.answer(400, json.dumps({"error": "invalid_client"}).encode())
                self.answer(200, json.dumps(granted).encode(), more=[("Cache-Control", "no-store")])

            def do_GET(self):
                token = self.headers.get("Authorization", "").removeprefix("Bearer ")
                if outer.tokens.get(token, 0) < time.time():
                    outer.counts["refused"] += 1
                    return self.answer(401, b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"login"}]}',
                                       "application/fhir+json")
                outer.counts["passed"] += 1
                for attempt in (1, 2):
                    try:
                        if getattr(local, "connection", None) is None:
                            local.connection = http.client.HTTPConnection(outer.upstream, timeout=60)
                        local.connection.request("GET", self.path, headers={
                            "Host": self.headers["Host"], "Accept": self.headers.get("Accept", "application/fhir+json")})
                        answer = local.connection.getresponse()
                        body = answer.read()
                        break
                    except (OSError, http.client.HTTPException):
                        local.connection = None
                        if attempt == 2:
                            return self.answer(502, b"{}")
                kept = [(name, value) for name, value in answer.getheaders() if name.lower() in ("etag", "last-modified")]
                self.answer(answer.status, body, answer.getheader("Content-Type", "application/json"), kept)

        return Handler


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verify(jwk, text, signature):
    if jwk.get("kty") != "EC" or jwk.get("crv") != "P-384" or len(signature) != 96:
        return False
    public = P384 + b"\x04" + unb64(jwk["x"]) + unb64(jwk["y"])
    with tempfile.TemporaryDirectory() as folder:
        key, signed = pathlib.Path(folder) / "key.der", pathlib.Path(folder) / "signature"
        key.write_bytes(public)
        signed.write_bytes(der_signature(signature))
        done = subprocess.run(["openssl", "dgst", "-sha384", "-verify", str(key), "-keyform", "DER", "-signature", str(signed)],
                              input=text, capture_output=True)
    return done.returncode == 0
