// node drive.mjs RUNS: opens the page in a browser, as RUNS says, a file of JSON; prints what the page then shows, and what it asked
// the world for. NODE_PATH has playwright-core, CHROMIUM is the browser.
//
// A run: { page, plain, language, dark, small, trust, files: [{ name, data }], drop, script, print, picture }.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const { chromium } = createRequire(`${process.env.NODE_PATH}/x`)('playwright-core');

const PLAIN = 'http://gateway.test/verify.html'; // no secure context: WebCrypto is not there

// A context takes longer to make than the page to judge: runs that look at it alike share one.
const contexts = new Map();
function contextOf(browser, { language = 'en-GB', dark = false, small = false }) {
  const key = JSON.stringify([language, dark, small]);
  if (!contexts.has(key)) {
    contexts.set(key, browser.newContext({ locale: language, colorScheme: dark ? 'dark' : 'light', viewport: small ? { width: 390, height: 800 } : { width: 1100, height: 900 } }));
  }
  return contexts.get(key);
}

async function drive(browser, run) {
  const page = await (await contextOf(browser, run)).newPage(), requests = [], errors = [];
  const own = run.plain ? PLAIN : pathToFileURL(run.page).href;
  await page.route('**/*', async route => {
    const url = route.request().url();
    if (url === own) return run.plain ? route.fulfill({ contentType: 'text/html; charset=utf-8', body: await readFile(run.page) }) : route.continue();
    requests.push(url);
    return route.abort();
  });
  page.setDefaultTimeout(0); // how long a page takes is no failure: a large file alone is half a minute on a busy machine
  page.on('console', m => m.type() === 'error' && errors.push(m.text()));
  page.on('pageerror', e => errors.push(String(e)));
  page.on('dialog', d => { errors.push(`a dialog: ${d.message()}`); d.dismiss(); });
  await page.goto(own);
  const ready = () => page.waitForSelector('body[aria-busy=false]');
  await ready();
  await page.evaluate(() => { globalThis.ticks = 0; setInterval(() => globalThis.ticks++, 5); });
  if (run.trust) await page.fill('#trust', run.trust);
  const files = (run.files ?? []).map(({ name, data }) => ({ name, mimeType: 'application/octet-stream', buffer: Buffer.from(data, 'base64') }));
  if (run.drop) await drop(page, run.files);
  else if (files.length > 0) await page.setInputFiles('#choose', files);
  await ready();
  const said = run.script === undefined ? null : await page.evaluate(run.script).catch(e => `refused: ${e}`);
  if (run.script !== undefined) await page.waitForTimeout(300); // what must not come of it gets a moment to come
  await ready();
  if (run.print) await page.emulateMedia({ media: 'print' });
  const found = await page.evaluate(read);
  if (run.picture) await page.screenshot({ path: run.picture, fullPage: true });
  await page.close();
  return { ...found, said, requests, errors };
}

// Files are dropped as a person does, by an event; the bytes are made in the page.
async function drop(page, files) {
  await page.evaluate(all => {
    const transfer = new DataTransfer();
    for (const { name, data } of all) transfer.items.add(new File([Uint8Array.from(atob(data), c => c.charCodeAt(0))], name));
    for (const type of ['dragover', 'drop']) document.body.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }, files);
}

// In the page: what it shows.
function read() {
  const texts = (e, selector) => [...e.querySelectorAll(selector)].map(i => i.textContent);
  return {
    language: document.documentElement.lang, trusted: document.getElementById('trusted').textContent, tally: document.getElementById('tally').textContent,
    secure: isSecureContext, subtle: Boolean(globalThis.crypto?.subtle), came: !document.getElementById('came').hidden, text: document.body.innerText,
    ticks: globalThis.ticks, images: document.querySelectorAll('img').length,
    articles: [...document.querySelectorAll('article')].map(a => ({
      file: a.dataset.file, verdict: a.dataset.verdict, check: a.dataset.check, together: a.dataset.together, files: JSON.parse(a.dataset.files ?? '[]'),
      words: a.querySelector('.verdict').textContent, why: texts(a, '.why').join(''), brief: texts(a, '.brief').join(''),
      proved: texts(a, '.proved li'), beware: texts(a, '.beware li'), notProved: texts(a, '.not-proved li'),
      facts: [...a.querySelectorAll('dl > div')].map(d => [...d.children].map(c => c.textContent)), readings: [...a.querySelectorAll('tbody tr')].map(r => texts(r, 'td')),
      charts: a.querySelectorAll('figure').length, times: texts(a, '.times .when'), steps: texts(a, '.steps li > p, .steps summary'),
    })),
  };
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, timeout: 0, args: process.getuid?.() === 0 ? ['--no-sandbox'] : [] });
try {
  const shown = [];
  for (const run of JSON.parse(await readFile(process.argv[2], 'utf8'))) shown.push(await drive(browser, run));
  process.stdout.write(JSON.stringify(shown));
} finally {
  await browser.close();
}
