// npm `fhirclient`, as a server-side app uses it once it has its token response.

import smart from "fhirclient";
import { assert, bundle, check, names, observation, refusal, setup, statuses, upstream, upstreamFinds } from "./checks.mjs";

const { base, patient, other, foreign } = setup;
const incoming = { headers: { host: "app.example" }, url: "/", socket: {}, session: {} };
const client = smart(incoming, {}).client({ serverUrl: base, tokenResponse: { access_token: setup.token, patient } });
const status = (error) => error.status;
const mine = (search) => upstreamFinds(`${search}${search.includes("?") ? "&" : "?"}patient=${patient}`);

await check("metadata", "getFhirVersion, getFhirRelease", async () => {
  assert.equal(await client.getFhirVersion(), "4.0.1");
  assert.equal(await client.getFhirRelease(), 4);
});

await check("read", "patient.read", async () => {
  const read = await client.patient.read();
  const held = await upstream(`Patient/${patient}`);
  assert.deepEqual([read.id, read.name, read.birthDate, read.meta.versionId], [held.id, held.name, held.birthDate, held.meta.versionId]);
});

await check("read", "request of one instance", async () => {
  const [name] = await mine("Condition");
  const read = await client.request(name);
  assert.deepEqual(read.code, (await upstream(name)).code);
});

await check("read", "a request with includeResponse gives the ETag of the version", async () => {
  const { body, response } = await client.request({ url: `Patient/${patient}`, includeResponse: true });
  assert.equal(response.headers.get("etag"), `W/"${body.meta.versionId}"`);
});

await check("search", "patient.request adds the patient parameter that /metadata declares", async () => {
  const found = await client.patient.request("Encounter", { flat: true, pageLimit: 0 });
  assert.deepEqual(names(found), await mine("Encounter"));
});

await check("search", "a search by code and date", async () => {
  const found = await client.request("Observation?code=8867-4&date=ge2020", { flat: true, pageLimit: 0 });
  const held = await mine("Observation?code=8867-4&date=ge2020");
  assert.ok(held.length > 0);
  assert.deepEqual(names(found), held);
});

await check("paging", "request with pageLimit 0, flat", async () => {
  const held = await mine("Observation");
  assert.ok(held.length > 14, "too few for three pages");
  assert.deepEqual(names(await client.request("Observation?_count=7", { pageLimit: 0, flat: true })), held);
});

await check("paging", "onPage sees every page", async () => {
  const pages = [];
  await client.request("Observation?_count=7", { pageLimit: 0, onPage: (page) => pages.push(page) });
  assert.ok(pages.length > 2);
  assert.deepEqual(names(pages.flatMap((page) => page.entry.map((entry) => entry.resource))), await mine("Observation"));
});

await check("paging", "the resources() generator", async () => {
  const found = [];
  for await (const one of client.resources("Observation?_count=10")) found.push(one);
  assert.deepEqual(names(found), await mine("Observation"));
});

await check("includes", "_include of the subject", async () => {
  const page = await client.request("Encounter?_include=Encounter:subject");
  const included = page.entry.filter((entry) => entry.search.mode === "include").map((entry) => entry.resource);
  assert.deepEqual(names(included), [`Patient/${patient}`]);
});

await check("includes", "_revinclude through all pages", async () => {
  const found = await client.request(`Patient?_id=${patient}&_revinclude=Observation:subject`, { flat: true, pageLimit: 0 });
  assert.deepEqual(names(found), [...(await mine("Observation")), `Patient/${patient}`].sort());
});

await check("includes", "resolveReferences mounts subject, encounter and performer", async () => {
  const held = await upstream(`Observation?patient=${patient}&_count=1`);
  const read = await client.request(`Observation/${held.entry[0].resource.id}`, { resolveReferences: ["subject", "encounter", "performer"] });
  assert.equal(read.subject.id, patient);
  assert.equal(read.encounter.resourceType, "Encounter");
  assert.equal(read.performer[0].resourceType, "Practitioner");
});

await check("refusals", "another patient is 403", async () => {
  assert.equal(await refusal(client.request(`Patient/${other}`), status), 403);
  assert.equal(await refusal(client.request(`Observation?patient=${other}`), status), 403);
});

await check("refusals", "another patient's resource and an absent one are the same 404", async () => {
  const said = [];
  for (const id of [foreign, "no-such-observation"]) {
    assert.equal(await refusal(client.request(`Observation/${id}`).catch((error) => {
      said.push(error.message.replaceAll(id, "{id}"));
      throw error;
    }), status), 404);
  }
  assert.equal(said[0], said[1]);
});

await check("refusals", "a type outside the scopes is 403", async () => {
  assert.equal(await refusal(client.request("Coverage"), status), 403);
});

await check("refusals", "a token that is none is 401 and clears the library's session", async () => {
  const stranger = smart(incoming, {}).client({ serverUrl: base, tokenResponse: { access_token: "none", patient } });
  assert.equal(await refusal(stranger.patient.read(), status), 401);
  assert.deepEqual(stranger.getState("tokenResponse"), {});
});

await check("write", "create, update, delete", async () => {
  const made = await client.create(observation());
  assert.equal((await upstream(`Observation/${made.id}`)).subject.reference, `Patient/${patient}`);
  const changed = await client.update({ ...made, status: "final" });
  assert.equal(changed.status, "final");
  assert.notEqual(changed.meta.versionId, made.meta.versionId);
  assert.equal((await upstream(`Observation/${made.id}`)).status, "final");
  await client.delete(`Observation/${made.id}`);
  assert.equal(await upstream(`Observation/${made.id}`), null);
  assert.equal(await refusal(client.request(`Observation/${made.id}`), status), 404);
});

await check("patch", "patch with JSON Patch", async () => {
  const made = await client.create(observation());
  await client.patch(`Observation/${made.id}`, [{ op: "replace", path: "/status", value: "amended" }]);
  assert.equal((await upstream(`Observation/${made.id}`)).status, "amended");
  assert.equal(await refusal(client.patch(`Observation/${made.id}`, [
    { op: "replace", path: "/subject/reference", value: `Patient/${other}` },
  ]), status), 403);
  assert.equal((await upstream(`Observation/${made.id}`)).subject.reference, `Patient/${patient}`);
});

await check("write", "writes on another patient are refused", async () => {
  const before = await upstream(`Observation/${foreign}`);
  assert.equal(await refusal(client.create(observation(other)), status), 403);
  assert.equal(await refusal(client.update({ ...observation(), id: foreign }), status), 404);
  assert.equal(await refusal(client.patch(`Observation/${foreign}`, [{ op: "replace", path: "/status", value: "amended" }]), status), 404);
  assert.equal(await refusal(client.delete(`Observation/${foreign}`), status), 404);
  assert.deepEqual(await upstream(`Observation/${foreign}`), before);
});

await check("batch", "a batch posted to the base, each entry judged by itself", async () => {
  const asked = bundle("batch", [
    ["GET", `Patient/${patient}`],
    ["GET", "Encounter?_count=2"],
    ["POST", "Observation", observation()],
    ["GET", `Patient/${other}`],
    ["GET", `Observation/${foreign}`],
  ]);
  const answer = await client.request({
    url: base, method: "POST", body: JSON.stringify(asked), headers: { "content-type": "application/fhir+json" },
  });
  assert.equal(answer.type, "batch-response");
  assert.deepEqual(statuses(answer), [200, 200, 201, 403, 404]);
  assert.equal(answer.entry[0].resource.id, patient);
  assert.equal(answer.entry[1].resource.type, "searchset");
  assert.ok(!JSON.stringify(answer.entry[4]).includes(`Patient/${other}`));
});
