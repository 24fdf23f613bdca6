// An app made of npm fhirclient, served where the demonstration's apps are registered.
import { createHash, createPrivateKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const PORT = 9000;

/** The private key of a client as fhirclient wants it; `kid` is what the gate knows it by (RFC 7638). */
export function jwkOf(pem) {
  const jwk = createPrivateKey(readFileSync(pem)).export({ format: "jwk" });
  const canonical = JSON.stringify({ crv: jwk.crv, kty: jwk.kty, x: jwk.x, y: jwk.y });
  const kid = createHash("sha256").update(canonical).digest("base64url");
  return { ...jwk, kid, alg: "ES384", key_ops: ["sign"] };
}

const page = (script) =>
  `<!doctype html><html lang="en"><meta charset="utf-8"><title>An app</title><script src="/fhir-client.js"></script><script>${script}</script><p>An app.</p></html>`;

// Everything the library does once it has a token: reads, searches, refreshes.
// A public client tells who it is; the library leaves that out of a refresh unless it is told to.
const CALLBACK = `
FHIR.oauth2.settings.refreshTokenWithClientId = true;
FHIR.oauth2.ready().then(async (client) => {
  const patient = await client.patient.read();
  const bundle = await client.request("Observation?patient=" + client.patient.id + "&_count=20");
  const entries = (bundle.entry || []).map((entry) => entry.resource).filter((resource) => resource.resourceType === "Observation");
  const before = client.state.tokenResponse.access_token;
  // The library signs no assertion for a refresh: only its public clients refresh.
  if (!client.state.clientPrivateJwk) await client.refresh();
  const after = client.state.tokenResponse.access_token;
  await client.patient.read();
  const user = client.getFhirUser() || "";
  window.outcome = {
    patient: client.patient.id, encounter: client.encounter.id, read: patient.resourceType + "/" + patient.id,
    observations: entries.map((entry) => entry.id), owners: [...new Set(entries.map((entry) => entry.subject.reference))],
    user: user.split("/").slice(-2).join("/"), refreshed: Boolean(after) && after !== before, scope: client.state.tokenResponse.scope,
  };
}).catch((error) => { window.outcome = { failed: String(error && error.stack || error) }; });`;

// The same session again, after its person ended it: the library finds it in the tab's storage.
const AGAIN = `
(async () => {
  const state = JSON.parse(sessionStorage.getItem(JSON.parse(sessionStorage.getItem("SMART_KEY"))));
  const answer = await fetch(state.serverUrl + "/Patient/" + state.tokenResponse.patient, { headers: { Authorization: "Bearer " + state.tokenResponse.access_token } });
  window.outcome = { status: answer.status };
})().catch((error) => { window.outcome = { failed: String(error) }; });`;

export async function serveApp(told) {
  const build = join(dirname(createRequire(import.meta.url).resolve("fhirclient/package.json")), "build/fhir-client.js");
  const library = readFileSync(build);
  const keys = { "clinician-app": jwkOf(join(told.keys, "clinician-app.pem")) };
  const scopes = {
    "clinician-app": "openid fhirUser online_access patient/Patient.rs patient/Observation.rs",
    "patient-app": "launch/patient openid fhirUser offline_access patient/Patient.rs patient/Observation.rs",
  };
  const authorize = (client, launch, iss) => {
    const asked = { clientId: client, scope: launch + scopes[client], redirectUri: `http://127.0.0.1:${PORT}/callback`, pkceMode: "required" };
    if (iss) asked.iss = iss;
    if (keys[client]) asked.clientPrivateJwk = keys[client];
    return `FHIR.oauth2.authorize(${JSON.stringify(asked)}).catch((error) => { document.body.append(String(error)); });`;
  };
  const server = createServer((request, response) => {
    const url = new URL(request.url, `http://127.0.0.1:${PORT}`);
    const html = (script) => response.writeHead(200, { "content-type": "text/html" }).end(page(script));
    if (url.pathname === "/fhir-client.js") response.writeHead(200, { "content-type": "text/javascript" }).end(library);
    else if (url.pathname === "/launch") html(authorize("clinician-app", "launch "));
    else if (url.pathname === "/standalone") {
      const client = url.searchParams.get("client");
      html(authorize(client, client === "clinician-app" ? "launch/patient " : "", url.searchParams.get("iss")));
    } else if (url.pathname === "/callback") html(CALLBACK);
    else if (url.pathname === "/again") html(AGAIN);
    else response.writeHead(404).end();
  });
  await new Promise((done, failed) => server.once("error", failed).listen(PORT, "127.0.0.1", done));
  return { url: `http://127.0.0.1:${PORT}`, close: () => server.close() };
}
