// What the JavaScript scripts share: one line per check, and the upstream as the other side of each comparison.

import assert from "node:assert/strict";

export { assert };
export const setup = JSON.parse(process.env.HILUM_CLIENT);

/** Runs one check of a feature and prints its line; a feature that was not asked for is printed as skipped. */
export async function check(feature, what, body) {
  if (!setup.features.includes(feature)) {
    console.log(`skip ${feature}: ${what}`);
    return;
  }
  try {
    await body();
    console.log(`ok   ${feature}: ${what}`);
  } catch (error) {
    console.log(`FAIL ${feature}: ${what}: ${String(error?.message ?? error).replace(/\s+/g, " ").slice(0, 900)}`);
  }
}

/** The status with which a library reports that a call was refused; a call that succeeds is a failed check. */
export async function refusal(call, statusOf) {
  let answer;
  try {
    answer = await call;
  } catch (error) {
    const status = statusOf(error);
    assert.ok(status, `not an HTTP refusal: ${error?.stack ?? error}`);
    return status;
  }
  throw new Error(`was not refused: ${JSON.stringify(answer)?.slice(0, 300)}`);
}

/** A JSON answer of the upstream itself; null when it has none (404, 410). */
export async function upstream(target) {
  const answer = await fetch(target.startsWith("http") ? target : `${setup.upstream}/${target}`);
  if (answer.status === 404 || answer.status === 410) return null;
  assert.equal(answer.status, 200, `upstream ${target}`);
  return answer.json();
}

/** `Type/id` of everything that the upstream's own search returns, through all its pages, sorted. */
export async function upstreamFinds(target) {
  const all = [];
  for (let page = await upstream(target); page; ) {
    all.push(...(page.entry ?? []).map((entry) => entry.resource));
    const next = page.link.find((link) => link.relation === "next");
    page = next ? await upstream(next.url) : null;
  }
  return names(all);
}

/** `Type/id` of resources, sorted, outcomes left out. */
export function names(resources) {
  return resources.filter((one) => one.resourceType !== "OperationOutcome").map((one) => `${one.resourceType}/${one.id}`).sort();
}

export function observation(patient = setup.patient, value = 61, extra = {}) {
  return {
    resourceType: "Observation",
    status: "preliminary",
    code: { coding: [{ system: "http://loinc.org", code: "8867-4", display: "Heart rate" }] },
    subject: { reference: `Patient/${patient}` },
    effectiveDateTime: "2026-01-05T10:00:00Z",
    valueQuantity: { value, unit: "/min", system: "http://unitsofmeasure.org", code: "/min" },
    ...extra,
  };
}

/** A Bundle of `[method, url, resource?, fullUrl?]`. */
export function bundle(type, entries) {
  return {
    resourceType: "Bundle",
    type,
    entry: entries.map(([method, url, resource, fullUrl]) => ({
      ...(fullUrl && { fullUrl }),
      ...(resource && { resource }),
      request: { method, url },
    })),
  };
}

export const statuses = (answer) => answer.entry.map((entry) => Number(entry.response.status.slice(0, 3)));
