// npm openid-client: discovery, a pushed request, PKCE, DPoP, private_key_jwt, the ID token, refresh, introspection, revocation.
import { createPrivateKey, webcrypto } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as client from "openid-client";
import { jwkOf } from "./app.mjs";

export async function openidClient({ browser, told, app, answer, check }) {
  console.log("npm openid-client");
  const pem = join(told.keys, "clinician-app.pem");
  const der = createPrivateKey(readFileSync(pem)).export({ format: "der", type: "pkcs8" });
  const key = await webcrypto.subtle.importKey("pkcs8", der, { name: "ECDSA", namedCurve: "P-384" }, false, ["sign"]);
  const auth = client.PrivateKeyJwt({ key, kid: jwkOf(pem).kid });
  const insecure = { execute: [client.allowInsecureRequests] };
  const config = await client.discovery(new URL(told.issuer), "clinician-app", undefined, auth, insecure);
  const server = config.serverMetadata();
  check("it discovers the gate", server.issuer === told.issuer && Boolean(server.pushed_authorization_request_endpoint), server);

  const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair("ES256"));
  const verifier = client.randomPKCECodeVerifier();
  const [state, nonce] = [client.randomState(), client.randomNonce()];
  const asked = {
    redirect_uri: `${app}/callback`,
    scope: "launch/patient openid fhirUser online_access patient/Patient.rs",
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    aud: told.fhir,
    state,
    nonce,
  };
  const url = await client.buildAuthorizationUrlWithPAR(config, asked, { DPoP });
  check("it pushes its request", url.searchParams.has("request_uri") && !url.searchParams.has("scope"), url.href);
  const page = await (await browser.newContext()).newPage();
  // The page at the callback is another library's, which takes the answer out of the address.
  let back;
  page.on("request", (request) => {
    if (request.url().startsWith(`${app}/callback?`)) back = new URL(request.url());
  });
  await page.goto(url.href);
  await answer(page, `${app}/callback`, { user: "bob", patient: "pat-002" });
  await page.context().close();

  const tokens = await client.authorizationCodeGrant(config, back, { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce }, undefined, { DPoP });
  check("its code becomes a token bound to its key, and an ID token that it verifies", tokens.token_type === "dpop" && tokens.patient === "pat-002" && tokens.claims()?.fhirUser?.endsWith("Practitioner/prac-01"), { ...tokens, claims: tokens.claims() });
  const target = new URL(`${told.fhir}/Patient/pat-002`);
  const fetched = (token) => client.fetchProtectedResource(config, token, target, "GET", undefined, undefined, { DPoP });
  const read = await fetched(tokens.access_token);
  check("it reads the patient with a proof", read.status === 200 && (await read.json()).id === "pat-002", `${read.status}`);
  const bare = await fetch(target, { headers: { Authorization: `Bearer ${tokens.access_token}` } });
  check("without its proof the token opens nothing", bare.status === 401, `${bare.status}`);

  const fresh = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP });
  check("it refreshes", fresh.access_token !== tokens.access_token && Boolean(fresh.refresh_token), fresh);
  const about = await client.tokenIntrospection(config, fresh.access_token);
  check("it may ask about its own token", about.active === true && about.patient === "pat-002" && Boolean(about.cnf?.jkt), about);
  await client.tokenRevocation(config, fresh.refresh_token);
  const after = await client.tokenIntrospection(config, fresh.access_token);
  check("it revokes, and the token is over", after.active === false, after);
  const late = await fetched(fresh.access_token).then((answer) => answer.status, (error) => error.cause?.[0]?.status ?? error.status ?? error.code);
  check("and opens nothing", late === 401 || late === "OAUTH_WWW_AUTHENTICATE_CHALLENGE", `${late}`);
}
