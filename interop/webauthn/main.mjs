// A gate of its own in a temporary folder, people by the command line, and Chromium with its virtual authenticator before the pages.
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const { values: options } = parseArgs({
  options: { binary: { type: "string" }, chromium: { type: "string" }, shots: { type: "string" } },
});
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const binary = resolve(options.binary);
const [DANA, OMAR] = ["dana@mercy.example", "omar@mercy.example"];
const PASS = { [DANA]: "correct horse battery dana", [OMAR]: "correct horse battery omar" };
let checks = 0;

function check(what, holds, seen = "") {
  if (!holds) throw new Error(`${what}\n${seen}`);
  checks += 1;
  console.log(`  ok  ${what}`);
}

const port = () =>
  new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });

const folder = mkdtempSync(join(tmpdir(), "hilum-webauthn-"));
const [listen, admin] = [await port(), await port()];
const environment = { ...process.env, HILUM_ADMIN: `http://127.0.0.1:${admin}`, HILUM_LOGIN: join(folder, "login"), DISPLAY: "", WAYLAND_DISPLAY: "" };
let gate;
let browser;

function hilum(args, stdin = "") {
  return spawnSync(binary, args, { cwd: folder, env: environment, input: stdin, encoding: "utf8" });
}

// A command that goes on: what it said so far, and how it ended.
function started(args, stdin = "") {
  const child = spawn(binary, args, { cwd: folder, env: environment, stdio: ["pipe", "pipe", "pipe"] });
  const command = { child, said: "", ended: new Promise((done) => child.on("exit", done)) };
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (command.said += text));
  child.stdin.end(stdin);
  return command;
}

async function until(what, test) {
  for (let tries = 0; tries < 600; tries += 1) {
    const found = test();
    if (found) return found;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`waited a minute for ${what}`);
}

// What a page shows is judged in both colour schemes, and kept to be looked at.
async function judged(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() =>
      window.axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
    check(`${name}: axe-core finds nothing (${colorScheme})`, violations.length === 0, JSON.stringify(violations, null, 1));
    if (options.shots) {
      mkdirSync(options.shots, { recursive: true });
      await page.screenshot({ path: join(options.shots, `${name}-${colorScheme}.png`), fullPage: true });
    }
  }
  await page.emulateMedia({ colorScheme: "light" });
}

async function setUp() {
  const made = hilum(["init", "gate", "--tenant", "mercy", "--listen", `127.0.0.1:${listen}`, "--admin-listen", `127.0.0.1:${admin}`]);
  check("the gate is made", made.status === 0, made.stderr);
  gate = started(["serve", "--config", "gate/hilum.toml"]);
  await until("the gate", () => gate.said.includes("is ready") || gate.child.exitCode !== null);
  const people = [`${DANA}=operator`, `${OMAR}=privacy-officer`];
  const secrets = [made.stdout.trim(), PASS[DANA], PASS[OMAR]].join("\n");
  const first = hilum(["person", "first", ...people], `${secrets}\n`);
  check("the first people are made", first.status === 0, first.stderr);
}

async function byPassphrase(page, person) {
  await page.getByLabel("Person").fill(person);
  await page.getByLabel("Passphrase", { exact: true }).fill(PASS[person]);
  await page.getByRole("button", { name: "Sign in with a passphrase" }).click();
}

async function enrolment(page) {
  await page.goto(`http://127.0.0.1:${admin}/console`);
  check("an address is led to the name", page.url() === `http://localhost:${admin}/console/sign-in`, page.url());
  await judged(page, "sign-in");
  await byPassphrase(page, DANA);
  await page.getByRole("heading", { name: "Your passkeys" }).waitFor();
  await judged(page, "passkeys-none");
  await page.getByLabel("Name").fill("Work laptop");
  await page.getByRole("button", { name: "Add a passkey" }).click();
  await page.waitForURL("**/console/sign-in");
  check("the first passkey ends the session by passphrase", true);
  await page.getByRole("button", { name: "Sign in with a passkey" }).click();
  await page.getByRole("rowheader", { name: "Work laptop" }).waitFor();
  check("the passkey signs in", true);
  await judged(page, "passkeys");
}

async function refusals(page, cdp, authenticatorId) {
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Signed out" }).waitFor();
  await judged(page, "signed-out");
  await page.goto(`http://localhost:${admin}/console/sign-in`);
  await byPassphrase(page, DANA);
  await page.getByRole("alert").waitFor();
  check("the passphrase alone no longer signs in", page.url().endsWith("/passphrase"), page.url());
  await judged(page, "passphrase-refused");
  await cdp.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: false });
  await page.getByRole("button", { name: "Sign in with a passkey" }).click();
  await page.getByText("No passkey was used").waitFor();
  check("an authenticator that verifies nobody signs nobody in", true);
  await cdp.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: true });
}

// Waits until a command shows page and code, and opens the page.
async function waiting(page, command) {
  const [, url] = await until("the address", () => command.said.match(/(http:\/\/localhost:\S+)/));
  const [, code] = await until("the code", () => command.said.match(/code:\s+(?:\x1b\[\d+m)?([A-Z]{4}-[A-Z]{4})/));
  await page.goto(url);
  return code;
}

async function commandLine(page) {
  const command = started(["login", DANA, "--browser"]);
  const code = await waiting(page, command);
  await page.getByRole("button", { name: "Sign in with a passkey" }).click();
  await page.getByText(code, { exact: true }).waitFor();
  check("page and terminal show the same code", true);
  await judged(page, "confirm");
  await page.getByRole("button", { name: "Yes" }).click();
  await page.getByRole("heading", { name: "Done" }).waitFor();
  check("the command line is signed in", (await command.ended) === 0, command.said);
  const list = hilum(["person", "passkeys", DANA, "-o", "json"]);
  check("and is let in", list.status === 0 && list.stdout.includes("Work laptop"), list.stderr);
  check("its file holds no code of the page", !readFileSync(join(folder, "login"), "utf8").includes(code));

  const again = started(["login", DANA], `${PASS[DANA]}\n`);
  await waiting(page, again);
  check("whoever has a passkey is led to the page by their passphrase too", true);
  await page.getByRole("button", { name: "No" }).click();
  await page.getByRole("heading", { name: "Refused" }).waitFor();
  check("a no is the end of it", (await again.ended) === 1 && again.said.includes("refused"), again.said);
}

async function withoutScript() {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(`http://localhost:${admin}/console/sign-in`);
  check("without script the page says why", await page.getByText("Passkeys need a script").isVisible());
  check("and offers no button that does nothing", !(await page.getByRole("button", { name: "Sign in with a passkey" }).isVisible()));
  await byPassphrase(page, OMAR);
  await page.getByRole("heading", { name: "Your passkeys" }).waitFor();
  check("the passphrase works without script", true);
  if (options.shots) await page.screenshot({ path: join(options.shots, "without-script.png"), fullPage: true });
  await context.close();
}

async function lost() {
  const asOmar = hilum(["login", OMAR], `${PASS[OMAR]}\n`);
  check("a colleague signs in", asOmar.status === 0, asOmar.stderr);
  const [{ id }] = hilum(["person", "passkeys", DANA, "-o", "json"]).stdout.trim().split("\n").map((line) => JSON.parse(line));
  const removed = hilum(["person", "passkey-remove", DANA, id]);
  check("and removes a lost passkey", removed.status === 0, removed.stderr);
  const asDana = hilum(["login", DANA], `${PASS[DANA]}\n`);
  check("after which the passphrase works again", asDana.status === 0, asDana.stderr);
}

try {
  await setUp();
  browser = await chromium.launch({ executablePath: options.chromium, args: process.getuid?.() === 0 ? ["--no-sandbox"] : [] });
  const page = await (await browser.newContext({ viewport: { width: 800, height: 900 } })).newPage();
  const [faults, foreign] = [[], []];
  page.on("console", (message) => { if (message.type() === "error" && !/40[0-9]/.test(message.text())) faults.push(message.text()); });
  page.on("pageerror", (why) => faults.push(String(why)));
  page.on("request", (request) => { if (!/^http:\/\/(localhost|127\.0\.0\.1):/.test(request.url())) foreign.push(request.url()); });
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("WebAuthn.enable");
  const { authenticatorId } = await cdp.send("WebAuthn.addVirtualAuthenticator", {
    options: { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
  });
  await enrolment(page);
  await refusals(page, cdp, authenticatorId);
  await commandLine(page);
  await withoutScript();
  await lost();
  check("no page broke a rule of its own", faults.length === 0, faults.join("\n"));
  check("no page asked another host for anything", foreign.length === 0, foreign.join("\n"));
  console.log(`${checks} checks hold`);
} catch (why) {
  console.error(`FAILED: ${why.stack ?? why}\n--- the gate said\n${gate?.said ?? ""}`);
  process.exitCode = 1;
} finally {
  await browser?.close();
  gate?.child.kill("SIGTERM");
  await gate?.ended;
  rmSync(folder, { recursive: true, force: true });
}
