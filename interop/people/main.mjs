// Starts the demonstration, an app of fhirclient at the address where the demonstration's apps are, and Chromium; then has each library
// do what it is for. Exits 1 on the first check that does not hold.
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { serveApp } from "./app.mjs";
import { openidClient } from "./openid_client.mjs";

const { values: options } = parseArgs({
  options: { binary: { type: "string" }, python: { type: "string" }, chromium: { type: "string" }, shots: { type: "string" } },
});
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const folder = mkdtempSync(join(tmpdir(), "hilum-people-"));
let checks = 0;
let judged = 0;

export function check(what, holds, seen = "") {
  if (!holds) throw new Error(`${what}\n${typeof seen === "string" ? seen : JSON.stringify(seen, null, 1)}`);
  checks += 1;
  console.log(`  ok  ${what}`);
}

/** Judges the page that the browser shows; each kind once for every width and colour. */
async function judge(page, name) {
  for (const [view, width, colorScheme] of [["wide", 1000, "light"], ["narrow", 320, "light"], ["dark", 1000, "dark"]]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 900 });
    if (options.shots) await page.screenshot({ path: join(options.shots, `${name}.${view}.png`), fullPage: true });
    await page.evaluate(axe);
    const rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
    const found = await page.evaluate((values) => window.axe.run({ runOnly: { type: "tag", values } }), rules);
    const says = found.violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.target.join(" ")).join(", ")}`);
    const sideways = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
    const scripts = await page.evaluate(() => document.querySelectorAll("script").length);
    check(`${name}, ${view}: axe-core finds nothing, no script, no sideways scrolling`, says.length === 0 && found.passes.length > 0 && !sideways && scripts === 0, [...says, { sideways, scripts }]);
    judged += 1;
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 1000, height: 900 });
}

/** Answers Hilum's pages as a person would, until the browser is back at the app. */
async function answer(page, app, { user, patient, shots }) {
  for (let pages = 0; pages < 8; pages += 1) {
    await page.waitForLoadState();
    if (page.url().startsWith(app)) return;
    if (await page.locator("input[name=username]").count()) {
      if (shots) await judge(page, `${shots}-sign-in`);
      await page.fill("input[name=username]", user);
      await page.fill("input[name=password]", user);
      await Promise.all([page.waitForNavigation(), page.click("main form button[type=submit]")]);
    } else if (await page.locator("[name=patient]").count()) {
      if (shots) await judge(page, `${shots}-picker`);
      const choice = page.locator(`[name=patient][value="${patient}"]`);
      if ((await choice.getAttribute("type")) === "radio") {
        await choice.check({ force: true });
        await Promise.all([page.waitForNavigation(), page.locator("form:has([name=patient]) button[type=submit]").last().click()]);
      } else {
        await Promise.all([page.waitForNavigation(), choice.click()]);
      }
    } else if (await page.locator("[name=decision][value=allow]").count()) {
      if (shots) await judge(page, `${shots}-consent`);
      await Promise.all([page.waitForNavigation(), page.click("[name=decision][value=allow]")]);
    } else {
      throw new Error(`no page that asks: ${page.url()}\n${await page.locator("body").innerText()}`);
    }
  }
  throw new Error(`the pages do not end: ${page.url()}`);
}

/** What the app made of its token, once the browser is back. */
async function outcome(page) {
  await page.waitForFunction(() => window.outcome, null, { timeout: 30_000 });
  const found = await page.evaluate(() => window.outcome);
  if (found.failed) throw new Error(`fhirclient: ${found.failed}`);
  return found;
}

async function fhirclientByEhr(browser, told, app) {
  console.log("npm fhirclient, launched by the EHR");
  const page = await (await browser.newContext()).newPage();
  await page.goto(told.launch);
  await page.selectOption("[name=client_id]", "clinician-app");
  await page.selectOption("[name=practitioner]", "prac-01");
  await page.selectOption("[name=patient]", "pat-001");
  await Promise.all([page.waitForNavigation(), page.click("form button")]);
  await page.selectOption("[name=encounter]", { index: 1 });
  const encounter = await page.locator("[name=encounter]").inputValue();
  await Promise.all([page.waitForNavigation(), page.click("form button")]);
  // The app's page calls fhirclient, which goes on to Hilum by script.
  await page.waitForURL((url) => url.pathname.includes("/oauth/"), { timeout: 30_000 });
  await answer(page, `${app}/callback`, { shots: "ehr" });
  const found = await outcome(page);
  check("the EHR's patient and encounter are the app's", found.patient === "pat-001" && found.encounter === encounter, found);
  check("it reads the patient", found.read === "Patient/pat-001", found);
  check("it searches observations, all of that patient", found.observations.length > 0 && found.owners.join() === "Patient/pat-001", found);
  check("who launched is known by the ID token", found.user === "Practitioner/prac-01", found);
  await page.context().close();
}

async function fhirclientAlone(browser, told, app) {
  console.log("npm fhirclient, on its own");
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`${app}/standalone?client=patient-app&iss=${encodeURIComponent(told.fhir)}`);
  await page.waitForURL((url) => url.pathname.includes("/oauth/"), { timeout: 30_000 });
  await answer(page, `${app}/callback`, { user: "alice", shots: "patient" });
  const found = await outcome(page);
  check("the patient is the one who signed in", found.patient === "pat-001" && found.user === "Patient/pat-001", found);
  check("it reads, searches and refreshes", found.read === "Patient/pat-001" && found.observations.length > 0 && found.refreshed === true, found);
  await page.goto(`${told.issuer}/oauth/grants`);
  await judge(page, "grants");
  await Promise.all([page.waitForNavigation(), page.locator("[name=revoke]").first().click()]);
  await judge(page, "grants-revoked");
  await page.goto(`${app}/again`);
  const after = await page.waitForFunction(() => window.outcome, null, { timeout: 30_000 }).then(() => page.evaluate(() => window.outcome));
  check("what was taken back opens nothing any more", after.status === 401, after);
  await context.close();

  console.log("npm fhirclient, a clinician picks");
  const second = await (await browser.newContext()).newPage();
  await second.goto(`${app}/standalone?client=clinician-app&iss=${encodeURIComponent(told.fhir)}`);
  await second.waitForURL((url) => url.pathname.includes("/oauth/"), { timeout: 30_000 });
  await answer(second, `${app}/callback`, { user: "bob", patient: "pat-002", shots: "clinician" });
  const picked = await outcome(second);
  check("the picked patient, and no other", picked.patient === "pat-002" && picked.read === "Patient/pat-002" && picked.owners.join() === "Patient/pat-002", picked);
  await second.context().close();
}

/** A library of Python's, with a browser of its own. */
function python(name, told, from) {
  return new Promise((done, failed) => {
    const script = join(new URL(".", import.meta.url).pathname, `${name}.py`);
    const child = spawn(options.python, [script, from, told.fhir, join(told.keys, "clinician-app.pem")], { stdio: "inherit" });
    child.on("exit", (code) => (code === 0 ? done() : failed(new Error(`${name}: ended with ${code}`))));
  });
}

async function main() {
  if (options.shots) mkdirSync(options.shots, { recursive: true });
  const demo = spawn(resolve(options.binary), ["demo", "--conformance", join(folder, "fixtures.toml"), "-o", "json"], { stdio: ["ignore", "pipe", "inherit"] });
  let browser;
  let app;
  try {
    const line = await createInterface({ input: demo.stdout })[Symbol.asyncIterator]().next();
    const told = JSON.parse(line.value);
    app = await serveApp(told);
    const quiet = ["--no-first-run", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
    browser = await chromium.launch({ executablePath: options.chromium, args: ["--no-sandbox", "--disable-gpu", ...quiet] });
    await fhirclientAlone(browser, told, app.url);
    await fhirclientByEhr(browser, told, app.url);
    await openidClient({ browser, told, app: app.url, answer, check });
    await python("pypi_authlib", told, told.issuer);
    await python("pypi_fhirclient", told, told.launch);
    console.log(`${checks} checks; ${judged} views of pages judged`);
  } finally {
    await browser?.close();
    app?.close();
    demo.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
