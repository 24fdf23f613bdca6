// npm `fhir-kit-client`: every kind of request that it has a method for.

import { CapabilityTool, Client } from "fhir-kit-client";
import { assert, bundle, check, names, observation, refusal, setup, statuses, upstream, upstreamFinds } from "./checks.mjs";

const { base, patient, other, foreign } = setup;
const client = new Client({ baseUrl: base, bearerToken: setup.token });
const status = (error) => error.response?.status;
const mine = (search) => upstreamFinds(`${search}${search.includes("?") ? "&" : "?"}patient=${patient}`);
const resources = (page) => (page.entry ?? []).map((entry) => entry.resource);

async function everything(first) {
  const all = [];
  for (let page = first; page; page = await client.nextPage({ bundle: page })) all.push(...resources(page));
  return all;
}

await check("metadata", "smartAuthMetadata", async () => {
  const found = await new Client({ baseUrl: base }).smartAuthMetadata();
  assert.equal(found.tokenUrl.href, setup.token_url);
});

await check("metadata", "capabilityStatement, read with the library's CapabilityTool", async () => {
  const statement = await new Client({ baseUrl: base }).capabilityStatement();
  const tool = new CapabilityTool(statement);
  assert.equal(statement.implementation.url, base);
  assert.ok(tool.resourceCan("Observation", "read") && tool.resourceCan("Observation", "search-type"));
  assert.ok(tool.resourceSearch("Observation", "code"));
});

await check("metadata", "with a token, what this session may do", async () => {
  const tool = new CapabilityTool(await client.capabilityStatement());
  for (const code of ["read", "search-type", "create", "update", "delete"]) assert.ok(tool.resourceCan("Observation", code), code);
  assert.ok(tool.resourceCan("Condition", "read") && !tool.resourceCan("Condition", "create"));
  assert.ok(!tool.resourceCan("Coverage", "read"));
});

await check("read", "read", async () => {
  const read = await client.read({ resourceType: "Patient", id: patient });
  assert.deepEqual(read.name, (await upstream(`Patient/${patient}`)).name);
});

await check("read", "resolve of a relative and of an absolute reference", async () => {
  for (const reference of [`Patient/${patient}`, `${base}/Patient/${patient}`]) {
    assert.equal((await client.resolve({ reference })).id, patient);
  }
});

await check("search", "search by GET", async () => {
  const page = await client.search({ resourceType: "Condition", searchParams: { patient, _count: 50 } });
  assert.deepEqual(names(resources(page)), await mine("Condition"));
  assert.ok(page.entry.every((entry) => entry.fullUrl.startsWith(`${base}/`)));
});

await check("search", "a parameter sent twice means both", async () => {
  const first = await client.search({ resourceType: "Observation", searchParams: { date: ["ge2025-01-01", "lt2026-01-01"] } });
  assert.deepEqual(names(await everything(first)), await mine("Observation?date=ge2025-01-01&date=lt2026-01-01"));
});

await check("paging", "nextPage to the end", async () => {
  const first = await client.search({ resourceType: "Observation", searchParams: { _count: 7 } });
  assert.deepEqual(names(await everything(first)), await mine("Observation"));
});

await check("post-search", "search by POST, to the end", async () => {
  const first = await client.search({
    resourceType: "Observation", searchParams: { code: "http://loinc.org|8867-4", _count: 2 }, options: { postSearch: true },
  });
  const held = await mine("Observation?code=http://loinc.org|8867-4");
  assert.ok(held.length > 2);
  assert.deepEqual(names(await everything(first)), held);
});

await check("post-search", "a POST search that names another patient is 403", async () => {
  const asked = { resourceType: "Observation", searchParams: { patient: other }, options: { postSearch: true } };
  assert.equal(await refusal(client.search(asked), status), 403);
});

await check("includes", "_include and _revinclude", async () => {
  const first = await client.search({ resourceType: "Encounter", searchParams: { _include: "Encounter:subject" } });
  assert.deepEqual(names(await everything(first)), [...(await mine("Encounter")), `Patient/${patient}`].sort());
  const second = await client.search({ resourceType: "Patient", searchParams: { _revinclude: ["Condition:subject", "Encounter:subject"] } });
  const held = [...(await mine("Condition")), ...(await mine("Encounter")), `Patient/${patient}`].sort();
  assert.deepEqual(names(await everything(second)), held);
});

await check("includes", "resolve finds an included resource in its Bundle", async () => {
  const page = await client.search({ resourceType: "Encounter", searchParams: { _include: "Encounter:subject" } });
  const found = await client.resolve({ reference: resources(page)[0].subject.reference, context: page });
  assert.equal(found, resources(page).find((one) => one.resourceType === "Patient"));
});

await check("compartment", "search in the patient's compartment, by GET and by POST", async () => {
  const compartment = { resourceType: "Patient", id: patient };
  for (const postSearch of [false, true]) {
    const first = await client.search({ resourceType: "Observation", compartment, searchParams: { _count: 20 }, options: { postSearch } });
    assert.deepEqual(names(await everything(first)), await mine("Observation"));
  }
  const away = { resourceType: "Observation", compartment: { resourceType: "Patient", id: other } };
  assert.equal(await refusal(client.search(away), status), 403);
});

await check("everything", "$everything has all of the granted types", async () => {
  const first = await client.operation({ name: "everything", resourceType: "Patient", id: patient, method: "GET" });
  const found = names(await everything(first));
  for (const kind of ["Observation", "Condition", "Encounter"]) {
    assert.deepEqual(found.filter((name) => name.startsWith(`${kind}/`)), await mine(kind));
  }
  // One Appointment of the EHR is two patients', and so neither's here.
  const appointments = (await mine("Appointment")).filter((name) => name !== "Appointment/appt-shared");
  assert.deepEqual(found.filter((name) => name.startsWith("Appointment/")), appointments);
  const away = { name: "everything", resourceType: "Patient", id: other, method: "GET" };
  assert.equal(await refusal(client.operation(away), status), 403);
});

await check("refusals", "another patient is 403 with an OperationOutcome", async () => {
  const calls = [
    () => client.read({ resourceType: "Patient", id: other }),
    () => client.search({ resourceType: "Observation", searchParams: { patient: other } }),
    () => client.search({ resourceType: "Observation", searchParams: { subject: `Patient/${other}` } }),
  ];
  for (const call of calls) {
    assert.equal(await refusal(call().catch((error) => {
      assert.equal(error.response.data.resourceType, "OperationOutcome");
      throw error;
    }), status), 403);
  }
});

await check("refusals", "another patient's resource and an absent one are the same 404", async () => {
  const said = [];
  for (const id of [foreign, "no-such-observation"]) {
    assert.equal(await refusal(client.read({ resourceType: "Observation", id }).catch((error) => {
      said.push(JSON.stringify(error.response.data).replaceAll(id, "{id}"));
      throw error;
    }), status), 404);
  }
  assert.equal(said[0], said[1]);
});

await check("refusals", "system search, type and system history, and export are 403", async () => {
  assert.equal(await refusal(client.systemSearch({ searchParams: { _type: "Observation" } }), status), 403);
  assert.equal(await refusal(client.typeHistory({ resourceType: "Observation" }), status), 403);
  assert.equal(await refusal(client.systemHistory(), status), 403);
  assert.equal(await refusal(client.operation({ name: "export", method: "GET" }), status), 403);
});

await check("history", "vread and history of an instance", async () => {
  const made = await client.create({ resourceType: "Observation", body: observation() });
  const changed = await client.update({ resourceType: "Observation", id: made.id, body: { ...made, status: "final" } });
  const first = await client.vread({ resourceType: "Observation", id: made.id, version: made.meta.versionId });
  assert.equal(first.status, "preliminary");
  const history = await client.history({ resourceType: "Observation", id: made.id });
  assert.equal(history.type, "history");
  const versions = resources(history).map((one) => one.meta.versionId);
  assert.deepEqual(versions, [changed.meta.versionId, made.meta.versionId]);
});

await check("history", "history of a resource that nobody changed here", async () => {
  const history = await client.resourceHistory({ resourceType: "Patient", id: patient });
  assert.deepEqual(names(resources(history)), [`Patient/${patient}`]);
});

await check("history", "history and versions of another patient's are refused", async () => {
  assert.equal(await refusal(client.history({ resourceType: "Patient", id: other }), status), 403);
  assert.equal(await refusal(client.history({ resourceType: "Observation", id: foreign }), status), 404);
  assert.equal(await refusal(client.vread({ resourceType: "Observation", id: foreign, version: "1" }), status), 404);
});

await check("write", "create, update, delete", async () => {
  const made = await client.create({ resourceType: "Observation", body: observation() });
  const { response } = Client.httpFor(made);
  assert.equal(response.status, 201);
  assert.ok(response.headers.get("location").startsWith(`${base}/Observation/${made.id}`));
  const changed = await client.update({
    resourceType: "Observation", id: made.id, body: { ...made, status: "final" },
    options: { headers: { "If-Match": `W/"${made.meta.versionId}"` } },
  });
  assert.equal(changed.status, "final");
  assert.equal((await upstream(`Observation/${made.id}`)).status, "final");
  await client.delete({ resourceType: "Observation", id: made.id });
  assert.equal(await upstream(`Observation/${made.id}`), null);
});

await check("write", "what was read and is sent back with one change has just that change", async () => {
  const id = (await mine("Observation"))[0].split("/")[1];
  const before = await upstream(`Observation/${id}`);
  const read = await client.read({ resourceType: "Observation", id });
  await client.update({ resourceType: "Observation", id, body: { ...read, status: "amended" } });
  const { meta, ...after } = await upstream(`Observation/${id}`);
  assert.notEqual(meta.versionId, before.meta.versionId);
  assert.deepEqual({ ...after, meta: before.meta }, { ...before, status: "amended" });
});

await check("write", "an update of an old version is 412", async () => {
  const made = await client.create({ resourceType: "Observation", body: observation() });
  await client.update({ resourceType: "Observation", id: made.id, body: { ...made, status: "final" } });
  const late = client.update({
    resourceType: "Observation", id: made.id, body: { ...made, status: "amended" },
    options: { headers: { "If-Match": `W/"${made.meta.versionId}"` } },
  });
  assert.equal(await refusal(late, status), 412);
  assert.equal((await upstream(`Observation/${made.id}`)).status, "final");
});

await check("write", "an Appointment, whose parties are several", async () => {
  const party = (reference) => ({ actor: { reference }, status: "accepted" });
  const made = await client.create({
    resourceType: "Appointment",
    body: {
      resourceType: "Appointment", status: "booked", start: "2027-01-05T10:00:00Z", end: "2027-01-05T10:30:00Z",
      participant: [party(`Patient/${patient}`), party("Practitioner/prac-01")],
    },
  });
  const changed = await client.update({ resourceType: "Appointment", id: made.id, body: { ...made, status: "cancelled" } });
  assert.equal(changed.status, "cancelled");
  assert.equal((await upstream(`Appointment/${made.id}`)).participant[1].actor.reference, "Practitioner/prac-01");
  const joint = { ...changed, participant: [...changed.participant, party(`Patient/${other}`)] };
  assert.equal(await refusal(client.update({ resourceType: "Appointment", id: made.id, body: joint }), status), 403);
});

await check("write", "writes on another patient and conditional forms are refused", async () => {
  const before = await upstream(`Observation/${foreign}`);
  assert.equal(await refusal(client.create({ resourceType: "Observation", body: observation(other) }), status), 403);
  assert.equal(await refusal(client.update({ resourceType: "Observation", id: foreign, body: { ...observation(), id: foreign } }), status), 404);
  assert.equal(await refusal(client.update({ resourceType: "Observation", searchParams: { code: "8867-4" }, body: observation() }), status), 403);
  assert.equal(await refusal(client.create({
    resourceType: "Observation", body: observation(), options: { headers: { "If-None-Exist": "code=8867-4" } },
  }), status), 403);
  assert.equal(await refusal(client.delete({ resourceType: "Observation", id: foreign }), status), 404);
  assert.deepEqual(await upstream(`Observation/${foreign}`), before);
});

await check("patch", "patch with JSON Patch", async () => {
  const made = await client.create({ resourceType: "Observation", body: observation() });
  const changed = await client.patch({
    resourceType: "Observation", id: made.id,
    jsonPatch: [{ op: "test", path: "/status", value: "preliminary" }, { op: "replace", path: "/valueQuantity/value", value: 62 }],
  });
  assert.equal(changed.valueQuantity.value, 62);
  assert.equal((await upstream(`Observation/${made.id}`)).valueQuantity.value, 62);
  const away = [{ op: "replace", path: "/subject/reference", value: `Patient/${other}` }];
  assert.equal(await refusal(client.patch({ resourceType: "Observation", id: made.id, jsonPatch: away }), status), 403);
  assert.equal(await refusal(client.patch({ resourceType: "Observation", id: foreign, jsonPatch: away }), status), 404);
});

await check("batch", "batch, each entry judged by itself", async () => {
  const answer = await client.batch({
    body: bundle("batch", [
      ["GET", "Observation?_count=3"],
      ["POST", "Observation", observation()],
      ["GET", `Observation?patient=${other}`],
      ["DELETE", `Observation/${foreign}`],
      ["GET", "Coverage"],
    ]),
  });
  assert.equal(answer.type, "batch-response");
  assert.deepEqual(statuses(answer), [200, 201, 403, 404, 403]);
  const next = await client.nextPage({ bundle: answer.entry[0].resource });
  assert.equal(names(resources(next)).length, 3);
});

await check("transaction", "transaction with a reference from entry to entry", async () => {
  const [one, two] = ["urn:uuid:0d7e3b0e-3a7c-4b58-9f0a-6c3c6f1f0001", "urn:uuid:0d7e3b0e-3a7c-4b58-9f0a-6c3c6f1f0002"];
  const answer = await client.transaction({
    body: bundle("transaction", [
      ["POST", "Observation", observation(patient, 63), one],
      ["POST", "Observation", observation(patient, 64, { derivedFrom: [{ reference: one }] }), two],
    ]),
  });
  assert.equal(answer.type, "transaction-response");
  assert.deepEqual(statuses(answer), [201, 201]);
  const id = (entry) => /Observation\/([^/]+)/.exec(entry.response.location)[1];
  const second = await upstream(`Observation/${id(answer.entry[1])}`);
  assert.equal(second.derivedFrom[0].reference, `Observation/${id(answer.entry[0])}`);
});

await check("transaction", "a transaction with one entry about another patient changes nothing", async () => {
  const before = await mine("Observation");
  const asked = bundle("transaction", [["POST", "Observation", observation(patient, 65)], ["GET", `Patient/${other}`]]);
  assert.equal(await refusal(client.transaction({ body: asked }), status), 403);
  assert.deepEqual(await mine("Observation"), before);
});
