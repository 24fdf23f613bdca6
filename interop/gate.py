"""A Hilum gate of one's own for a test run: set up by the command line as a new user would, then used over the wire.

Signing is done by the `openssl` program, so that nothing of the product proves its own tokens right.
"""

import base64
import datetime
import http.client
import json
import os
import pathlib
import subprocess
import time
import urllib.parse
import uuid

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
OPERATOR, OFFICER, AUDITOR = "dana@mercy.example", "omar@mercy.example", "ada@mercy.example"
PASSPHRASE = {OPERATOR: "correct horse battery dana", OFFICER: "correct horse battery omar", AUDITOR: "correct horse battery ada"}


def day(ahead):
    """A date so many days from now, as people write it."""
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=ahead)).strftime("%Y-%m-%d")


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments, stdin=None):
    done = subprocess.run(["openssl", *arguments], input=stdin, capture_output=True)
    if done.returncode:
        raise SystemExit(f"openssl {arguments[0]} failed: {done.stderr.decode()}")
    return done.stdout


class Key:
    """A client's private key: `ES384` (P-384) or `RS384` (RSA 3072)."""

    def __init__(self, folder, name, algorithm="ES384"):
        self.path, self.algorithm = pathlib.Path(folder) / f"{name}.pem", algorithm
        self.kid = f"{name}-1"
        kind = (["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"] if algorithm == "ES384"
                else ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"])
        openssl("genpkey", *kind, "-out", str(self.path))
        self.path.chmod(0o600)

    def jwk(self):
        if self.algorithm == "ES384":
            point = openssl("pkey", "-in", str(self.path), "-pubout", "-outform", "DER")[-96:]
            members = {"kty": "EC", "crv": "P-384", "x": b64(point[:48]), "y": b64(point[48:])}
        else:
            modulus = bytes.fromhex(openssl("rsa", "-in", str(self.path), "-noout", "-modulus").decode().split("=")[1].strip())
            members = {"kty": "RSA", "n": b64(modulus), "e": "AQAB"}
        return {**members, "kid": self.kid, "alg": self.algorithm, "use": "sig", "key_ops": ["verify"]}

    def jwks(self):
        return {"keys": [self.jwk()]}

    def sign(self, claims, **header):
        text = ".".join(b64(json.dumps(part).encode()) for part in (
            {"alg": self.algorithm, "typ": "JWT", "kid": self.kid, **header}, claims))
        signature = openssl("dgst", "-sha384", "-sign", str(self.path), stdin=text.encode())
        if self.algorithm == "ES384":
            signature = raw_signature(signature, 48)
        return f"{text}.{b64(signature)}"

    def assertion(self, client, audience):
        now = int(time.time())
        return self.sign({"iss": client, "sub": client, "aud": audience, "iat": now, "exp": now + 240, "jti": str(uuid.uuid4())})


def raw_signature(der, size):
    """The two integers of a DER ECDSA signature, side by side (RFC 7518 §3.4)."""
    at = 2 if der[1] < 0x80 else 3
    out = b""
    for _ in range(2):
        length = der[at + 1]
        out += der[at + 2:at + 2 + length].lstrip(b"\0").rjust(size, b"\0")
        at += 2 + length
    return out


def der_signature(raw):
    """The other way round, for checking a signature that somebody else made."""
    half = len(raw) // 2
    parts = b""
    for number in (raw[:half], raw[half:]):
        number = number.lstrip(b"\0") or b"\0"
        number = (b"\0" if number[0] & 0x80 else b"") + number
        parts += b"\x02" + bytes([len(number)]) + number
    return b"\x30" + (bytes([len(parts)]) if len(parts) < 0x80 else b"\x81" + bytes([len(parts)])) + parts


STOOD_STILL = b"could not be made durable"


class Http:
    """One kept-alive connection."""

    def __init__(self, authority, timeout=120):
        self.authority, self.timeout, self.connection = authority, timeout, None

    def call(self, method, path, body=None, headers=None):
        """(status, headers, body bytes). Asks again when the disk stood still for so long that no record could be made: on
        a shared machine that happens, nothing was done then, and any client would."""
        for again in range(4):
            status, answered, data = self.once(method, path, body, headers)
            if status != 503 or STOOD_STILL not in data or again == 3:
                return status, answered, data
            time.sleep(1)

    def once(self, method, path, body=None, headers=None):
        """The same, asked once; connects again when the other side had closed."""
        for attempt in (1, 2):
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.authority, timeout=self.timeout)
            try:
                self.connection.request(method, path, body=body, headers=headers or {})
                answer = self.connection.getresponse()
                return answer.status, answer.headers, answer.read()
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self.connection = None
                if attempt == 2:
                    raise


def end(process):
    """Asks a program to end, and ends it where it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Gate:
    def __init__(self, binary, folder, port, upstream, tenant="mercy", wrap=()):
        self.binary, self.folder, self.port, self.tenant = str(binary), pathlib.Path(folder), port, tenant
        self.public, self.admin = f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}"
        self.issuer = f"http://{self.public}/{tenant}"
        self.base = f"{self.issuer}/fhir"
        self.config = self.folder / "gate" / "hilum.toml"
        self.wrap = list(wrap)
        self.process = None
        self.folder.mkdir(parents=True, exist_ok=True)
        made = self.hilum("init", str(self.folder / "gate"), "--tenant", tenant, "--name", "Mercy Health", "--upstream", upstream,
                          "--listen", self.public, "--admin-listen", self.admin)
        self.credential = made.strip().splitlines()[-1].strip()

    def hilum(self, *arguments, stdin="", person=None, check=True):
        """Runs one command; what it prints to standard output."""
        environment = {**os.environ, "HILUM_ADMIN": f"http://{self.admin}",
                       "HILUM_LOGIN": str(self.folder / f"login-{person or 'nobody'}")}
        done = subprocess.run([self.binary, *arguments], input=stdin, text=True, capture_output=True, env=environment, timeout=600)
        if check and done.returncode:
            raise SystemExit(f"hilum {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def json(self, *arguments, person=None):
        """One object per line of a command's JSON output."""
        text = self.hilum(*arguments, "-o", "json", person=person)
        return [json.loads(line) for line in text.splitlines() if line.strip()]

    def edit_config(self, change):
        self.config.write_text(change(self.config.read_text()))

    def start(self):
        log = open(self.folder / "serve.log", "ab")
        began = time.monotonic()
        self.process = subprocess.Popen([*self.wrap, self.binary, "serve", "--config", str(self.config)], stdout=log, stderr=log)
        while True:
            if self.process.poll() is not None:
                raise SystemExit(f"hilum serve ended: {(self.folder / 'serve.log').read_text()[-3000:]}")
            try:
                if Http(self.admin, timeout=2).call("GET", "/readyz")[0] == 200:
                    return time.monotonic() - began
            except OSError:
                pass
            if time.monotonic() - began > 60:
                raise SystemExit(f"hilum serve is not ready: {(self.folder / 'serve.log').read_text()[-3000:]}")
            time.sleep(0.02)

    def stop(self):
        if self.process:
            end(self.process)
        self.process = None

    def people(self, more=None):
        """The first people, with the single-use credential; then everybody signs in. `more` is {person: role}."""
        roles = {OPERATOR: "operator", OFFICER: "privacy-officer", AUDITOR: "auditor", **(more or {})}
        for person in more or {}:
            PASSPHRASE[person] = f"correct horse battery {person.split('@')[0]}"
        self.hilum("person", "first", *[f"{person}={role}" for person, role in roles.items()],
                   stdin="\n".join([self.credential, *[PASSPHRASE[person] for person in roles]]) + "\n")
        self.login()

    def login(self):
        for person, passphrase in PASSPHRASE.items():
            self.hilum("login", person, stdin=passphrase + "\n", person=person)

    def approve_all(self, until):
        """The privacy officer decides what the operator asked for."""
        waiting = [row["id"] for row in self.json("approval", "list", "--status", "requested", person=OFFICER)]
        for approval in waiting:
            self.hilum("approval", "approve", approval, "--until", until, person=OFFICER)
        return len(waiting)


class Agent:
    """An integration with its launcher, over the wire alone."""

    def __init__(self, gate, name, key, launcher, launcher_key, task):
        self.gate, self.name, self.key, self.launcher, self.launcher_key, self.task = gate, name, key, launcher, launcher_key, task
        self.oauth, self.fhir, self.token = Http(gate.public), Http(gate.public), None
        self.audience = f"{gate.issuer}/oauth/token"

    def launch(self, patient):
        body = json.dumps({"client_assertion_type": ASSERTION, "client_assertion": self.launcher_key.assertion(self.launcher, self.audience),
                           "client_id": self.name, "task": self.task, "patient": f"Patient/{patient}"})
        status, _, answer = self.oauth.call("POST", f"/{self.gate.tenant}/oauth/launch", body, {"Content-Type": "application/json"})
        return status, json.loads(answer)

    def redeem(self, launch, scope=None):
        form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION,
                "client_assertion": self.key.assertion(self.name, self.audience), "launch": launch}
        if scope:
            form["scope"] = scope
        status, _, answer = self.oauth.call("POST", f"/{self.gate.tenant}/oauth/token", urllib.parse.urlencode(form),
                                            {"Content-Type": "application/x-www-form-urlencoded"})
        return status, json.loads(answer)

    def begin(self, patient, scope=None):
        """Starts a session for one patient; the token response."""
        status, answer = self.launch(patient)
        if status != 201:
            raise SystemExit(f"no launch ticket for Patient/{patient}: {status} {answer}")
        status, answer = self.redeem(answer["launch"], scope)
        if status != 200:
            raise SystemExit(f"no token for Patient/{patient}: {status} {answer}")
        self.token = answer["access_token"]
        return answer

    def get(self, path, token=None):
        """(status, parsed body) of a FHIR read or search below the base."""
        target = path if path.startswith("/") else f"/{self.gate.tenant}/fhir/{path}"
        status, _, body = self.fhir.call("GET", target, headers={
            "Authorization": f"Bearer {token or self.token}", "Accept": "application/fhir+json"})
        try:
            return status, json.loads(body)
        except ValueError:
            return status, body[:200]
