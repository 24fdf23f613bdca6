// A real OpenID Connect provider on loopback: npm oidc-provider, configured by one JSON file, with accounts that a script can sign in as.
//
//   node provider.mjs CONFIG.json
//
// CONFIG.json: { "port": 0, "clients": [...], "accounts": { "NAME": { "password": "...", "claims": {...}, "acr": "...", "amr": [...] } } }
// A client is as in OpenID Connect Dynamic Registration: client_id, redirect_uris, and client_secret, or jwks / jwks_uri with
// token_endpoint_auth_method "private_key_jwt". Claims are put into the ID token as they are: fhirUser, patient, groups, name.
// Prints `issuer URL` on a line of its own when it is ready.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { generateKeyPairSync } from "node:crypto";
import Provider from "oidc-provider";

const configuration = JSON.parse(readFileSync(process.argv[2], "utf8"));
const accounts = new Map(Object.entries(configuration.accounts ?? {}));
const names = [...new Set([...accounts.values()].flatMap((account) => Object.keys(account.claims ?? {})))];

// Listening first: the issuer has the port in it.
const server = createServer((request, response) => handler(request, response));
let handler = (_, response) => response.writeHead(503).end();
await new Promise((ready) => server.listen(configuration.port ?? 0, "127.0.0.1", ready));
const issuer = `http://127.0.0.1:${server.address().port}`;

const key = (kind, options) => generateKeyPairSync(kind, options).privateKey.export({ format: "jwk" });
const provider = new Provider(issuer, {
  clients: configuration.clients.map((client) => ({
    grant_types: ["authorization_code"],
    response_types: ["code"],
    id_token_signed_response_alg: "RS256",
    ...client,
  })),
  jwks: {
    keys: [
      { ...key("rsa", { modulusLength: 2048 }), kid: "rsa-1", use: "sig", alg: "RS256" },
      { ...key("ec", { namedCurve: "P-256" }), kid: "ec-1", use: "sig", alg: "ES256" },
    ],
  },
  enabledJWA: {
    clientAuthSigningAlgValues: ["ES384", "RS384", "ES256", "PS256"],
    idTokenSigningAlgValues: ["RS256", "ES256", "PS256"],
  },
  acrValues: [...new Set([...accounts.values()].map((account) => account.acr).filter(Boolean))],
  claims: { openid: ["sub", "acr", "amr", "auth_time", "sid", ...names], profile: [] },
  conformIdTokenClaims: false,
  cookies: { keys: ["interop"] },
  features: {
    devInteractions: { enabled: false },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: {
      enabled: true,
      // No question is asked: whoever comes here with a hint is signed out.
      logoutSource: (context, form) => {
        context.body = `<!DOCTYPE html><title>out</title>${form}<script>document.forms[0].submit()</script>`;
      },
    },
  },
  findAccount: (_, id) => {
    const account = accounts.get(id);
    return account && { accountId: id, claims: () => ({ sub: account.sub ?? id, ...account.claims }) };
  },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  pkce: { required: () => true },
  ttl: { Session: 3600, Grant: 3600, IdToken: 300, AccessToken: 60, Interaction: 600 },
});

const page = (uid, says) => `<!DOCTYPE html><html lang="en"><title>Sign in</title><h1>Sign in</h1><p>${says}</p>
<form method="post" action="/interaction/${uid}"><label>Name <input name="login" autocomplete="username"></label>
<label>Password <input name="password" type="password" autocomplete="current-password"></label><button>Sign in</button></form></html>`;

const body = async (request) => {
  let text = "";
  for await (const chunk of request) text += chunk;
  return new URLSearchParams(text);
};

// Signing in is the only thing asked; consent is given by having an account.
async function interaction(request, response, uid) {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  const html = (status, text) => response.writeHead(status, { "content-type": "text/html; charset=utf-8" }).end(text);
  if (prompt.name === "consent") {
    const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    grant.addOIDCScope(params.scope);
    return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true });
  }
  if (request.method !== "POST") return html(200, page(uid, "An account of this test run."));
  const form = await body(request);
  if (form.get("abort")) {
    return provider.interactionFinished(request, response, { error: "access_denied" });
  }
  const account = accounts.get(form.get("login"));
  if (!account || account.password !== form.get("password")) return html(401, page(uid, "That is not right."));
  const login = { accountId: form.get("login"), acr: account.acr, amr: account.amr };
  return provider.interactionFinished(request, response, { login }, { mergeWithLastSubmission: false });
}

const callback = provider.callback();
handler = async (request, response) => {
  const at = /^\/interaction\/([A-Za-z0-9_-]+)$/.exec(request.url);
  try {
    if (at) return await interaction(request, response, at[1]);
    return callback(request, response);
  } catch (why) {
    console.error(`provider: ${why.message}`);
    if (!response.headersSent) response.writeHead(400).end(String(why.message));
  }
};
provider.on("server_error", (_, why) => console.error("provider:", why.message));
for (const event of ["authorization.error", "grant.error", "interaction.error", "end_session.error", "backchannel.error"]) {
  provider.on(event, (_, why) => console.error(`provider: ${event}: ${why?.error_description ?? why?.message ?? why}`));
}
console.log(`issuer ${issuer}`);
process.on("SIGTERM", () => process.exit(0));
