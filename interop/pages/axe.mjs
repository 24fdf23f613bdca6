// axe-core over pages: `node axe.mjs FOLDER_OR_URL...`. Every page is judged in light and dark, wide and at 320 CSS pixels
// (WCAG 2.2 AA, SC 1.4.10), and looked at for what axe does not judge: scripts, sideways scrolling, requests to elsewhere and
// targets below 24 by 24 pixels (SC 2.5.8). Exits 1 on any finding, 2 when it could not judge.
//
// Options: `--browser PATH` (default /usr/bin/chromium), `--shots FOLDER` keeps a picture of each.
import { readdirSync, readFileSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
const VIEWS = [
  { name: 'light', colorScheme: 'light', viewport: { width: 1000, height: 900 } },
  { name: 'dark', colorScheme: 'dark', viewport: { width: 1000, height: 900 } },
  { name: 'light-320', colorScheme: 'light', viewport: { width: 320, height: 900 } },
  { name: 'dark-320', colorScheme: 'dark', viewport: { width: 320, height: 900 } },
];

function args() {
  const out = { browser: '/usr/bin/chromium', shots: null, urls: [] };
  const rest = process.argv.slice(2);
  while (rest.length > 0) {
    const arg = rest.shift();
    if (arg === '--browser') out.browser = rest.shift();
    else if (arg === '--shots') out.shots = rest.shift();
    else if (/^(https?|file):/.test(arg)) out.urls.push(arg);
    else {
      const files = readdirSync(arg).filter((name) => name.endsWith('.html')).sort();
      out.urls.push(...files.map((name) => pathToFileURL(resolve(join(arg, name))).href));
    }
  }
  if (out.urls.length === 0) throw new Error('name a folder of pages, or URLs');
  return out;
}

/** What axe does not judge; runs in the page. */
function look() {
  const out = [];
  if (document.querySelector('script')) out.push('holds a script');
  if (document.documentElement.scrollWidth > window.innerWidth) {
    out.push(`scrolls sideways: ${document.documentElement.scrollWidth} > ${window.innerWidth}`);
  }
  for (const target of document.querySelectorAll('button, input:not([type=hidden]), a.button')) {
    const box = target.getBoundingClientRect();
    if (box.width > 0 && (box.width < 24 || box.height < 24)) out.push(`target below 24px: ${target.outerHTML.slice(0, 80)}`);
  }
  if (document.querySelectorAll('h1').length !== 1) out.push('does not have exactly one h1');
  return out;
}

async function judge(browser, url, view, axe, shots) {
  const context = await browser.newContext({ colorScheme: view.colorScheme, viewport: view.viewport, ignoreHTTPSErrors: true, bypassCSP: true });
  const page = await context.newPage();
  const asked = [];
  page.on('request', (request) => asked.push(request.url()));
  await page.goto(url, { waitUntil: 'load' });
  const first = page.url();
  const findings = await page.evaluate(look);
  const origin = new URL(first).origin;
  for (const other of asked) {
    if (new URL(other).origin !== origin && !other.startsWith('file:')) findings.push(`loads ${other}`);
  }
  if (shots) {
    const name = basename(new URL(first).pathname, '.html') || 'page';
    await page.screenshot({ path: join(shots, `${name}.${view.name}.png`), fullPage: true });
  }
  await page.evaluate(axe);
  const result = await page.evaluate((rules) => window.axe.run({ runOnly: { type: 'tag', values: rules } }), RULES);
  for (const violation of result.violations) {
    for (const node of violation.nodes) findings.push(`${violation.id}: ${node.target.join(' ')}: ${violation.help}`);
  }
  await context.close();
  return { findings, rules: result.passes.length };
}

async function main() {
  const { browser: executablePath, shots, urls } = args();
  if (shots) mkdirSync(shots, { recursive: true });
  const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  const quiet = ['--no-first-run', '--disable-quic', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu', ...quiet] });
  let bad = 0;
  try {
    for (const url of urls) {
      for (const view of VIEWS) {
        const { findings, rules } = await judge(browser, url, view, axe, shots);
        // A page on which no rule applied was not judged at all.
        if (rules === 0) findings.push('no rule applied: nothing was judged');
        bad += findings.length;
        console.log(`${findings.length === 0 ? 'ok  ' : 'FAIL'} ${view.name.padEnd(9)} ${url}`);
        for (const finding of findings) console.log(`       ${finding}`);
      }
    }
  } finally {
    await browser.close();
  }
  console.log(`${urls.length} pages, ${VIEWS.length} views each, ${bad} findings`);
  process.exitCode = bad === 0 ? 0 : 1;
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 2;
});
