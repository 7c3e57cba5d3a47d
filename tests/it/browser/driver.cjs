// Drives a real Chromium for the stories of tests/it/browser, over Playwright. Reads orders from standard input, one JSON document a
// line, does them one after the other and answers each with a line: {"value": …} or {"fault": "…"}.
//
// People are contexts of their own (cookies and all). What they click and fill in is found as a person finds it: by role and name, by
// label, by the row it stands in. Every page that somebody comes to is looked at once: with axe, for what is wider than the screen, for
// words on the console, and for requests to anywhere else.
'use strict';
const { readFileSync, writeFileSync } = require('node:fs');
const { hostname } = require('node:os');
const { createInterface } = require('node:readline');
const { chromium } = require('playwright-core');

const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
/// Milliseconds that anything may take. A loaded machine is slow; nothing waits this long when all is well.
const PATIENCE = 30_000;
/// How small the pictures of a sheet are, and how good.
const SHRUNK = 0.6;
const QUALITY = 36;
/// What of axe's findings is a fault.
const GRAVE = ['serious', 'critical'];

let browser;
const people = new Map();

/// Where something is looked for: the page, or the only row, panel or form on it that holds a text.
const where = (page, within) => (within ? page.getByRole(within.role).filter({ hasText: within.text }) : page);
const named = (page, { role, name, within }) => where(page, within).getByRole(role, { name });

/// Follows what leads to another page, and waits until that is there.
const lead = async (person, act) => {
  const there = person.page.waitForEvent('framenavigated', (frame) => frame === person.page.mainFrame());
  await Promise.all([there, act()]);
  await person.page.waitForLoadState('load');
  await look(person);
};

/// What is wrong with the page that a person is at. The same page, but for what it is about, is looked at once in each look.
const look = async (person) => {
  const { page, faults } = person;
  const { pathname } = new URL(page.url());
  const key = `${pathname.replace(/[0-9a-f-]{36}/g, '{id}')} ${await page.title()} ${person.view.width} ${person.view.scheme}`;
  if (person.seen.has(key)) return;
  person.seen.add(key);
  const wide = await page.evaluate(() => {
    const { clientWidth, scrollWidth } = document.documentElement;
    if (scrollWidth <= clientWidth) return undefined;
    const beyond = [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > clientWidth + 1);
    return `${scrollWidth} wide on a screen of ${clientWidth}: ${beyond.slice(0, 5).map((e) => `${e.tagName}.${e.className}`).join(' ')}`;
  });
  if (wide) faults.push(`${pathname}: ${wide}`);
  // Where scripts are off, axe is off.
  if (!person.view.javascript) return;
  await page.evaluate(axe);
  const options = { resultTypes: ['violations'] };
  // The rest is the same by night.
  if (person.view.scheme === 'dark') options.runOnly = ['color-contrast'];
  const { violations } = await page.evaluate((how) => globalThis.axe.run(document, how), options);
  for (const { impact, id, help, nodes } of violations.filter((found) => GRAVE.includes(found.impact))) {
    const places = nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} ${node.any[0]?.message ?? ''}`);
    faults.push(`${pathname}, ${person.view.scheme}: ${impact} ${id}, ${help}: ${places.join(' | ')}`);
  }
};

const orders = {
  /// Somebody sits down at a browser.
  async enter({ who, base, view }) {
    const context = await browser.newContext({
      baseURL: base, javaScriptEnabled: view.javascript, colorScheme: view.scheme, viewport: { width: view.width, height: view.height },
      // What fades from one colour to another has neither while it does, and axe would judge what nobody reads.
      reducedMotion: 'reduce',
    });
    context.setDefaultTimeout(PATIENCE);
    const page = await context.newPage();
    const person = { page, view, faults: [], seen: new Set(), pictures: [] };
    const origin = new URL(base).origin;
    page.on('request', (request) => {
      if (new URL(request.url()).origin !== origin) person.faults.push(`asks elsewhere: ${request.url()}`);
    });
    page.on('pageerror', (fault) => person.faults.push(`${page.url()}: ${fault}`));
    // That an answer is a refusal is for the story to look at.
    page.on('console', (said) => {
      if (said.type() === 'error' && !said.text().startsWith('Failed to load resource')) person.faults.push(`${page.url()}: ${said.text()}`);
    });
    people.set(who, person);
  },
  /// Types an address. The status of the answer.
  async visit(person, { path }) {
    const answer = await person.page.goto(path);
    await look(person);
    return answer.status();
  },
  async reload(person) {
    await person.page.reload();
    await look(person);
  },
  /// A button or link that leads to another page.
  async press(person, order) {
    await lead(person, () => named(person.page, order).click());
  },
  /// What is folded.
  async unfold(person, { name, within }) {
    await where(person.page, within).locator('summary').filter({ hasText: name }).click();
  },
  async fill(person, { label, value, within }) {
    await where(person.page, within).getByLabel(label, { exact: true }).fill(value);
  },
  async choose(person, { label, value, within }) {
    await where(person.page, within).getByLabel(label, { exact: true }).selectOption({ label: value });
  },
  /// What a person reads, as one line; of the whole page, or of one row of it.
  async read(person, { within }) {
    const read = within ? where(person.page, within) : person.page.locator('body');
    return (await read.innerText()).replace(/\s+/g, ' ');
  },
  async address(person) {
    const { pathname, search } = new URL(person.page.url());
    return pathname + search;
  },
  /// How it would look on another screen.
  async resize(person, { view }) {
    person.view = { ...person.view, ...view };
    await person.page.setViewportSize({ width: person.view.width, height: person.view.height });
    await person.page.emulateMedia({ colorScheme: person.view.scheme });
    await look(person);
  },
  /// A picture of the page, or of as much of it as `most` says.
  async picture(person, { most }) {
    const { width } = person.view;
    // Nothing is pointed at, and nothing tells where it was taken.
    await person.page.mouse.move(0, 0);
    await person.page.evaluate((host) => {
      const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      const name = new RegExp(`\\b${host.replace(/\W/g, '\\$&')}\\b`, 'g');
      while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replace(name, 'worker-host');
    }, hostname());
    const high = await person.page.evaluate(() => document.documentElement.scrollHeight);
    const clip = { x: 0, y: 0, width, height: Math.min(high, most) };
    person.pictures.push({ width, png: await person.page.screenshot({ fullPage: true, clip }) });
  },
  /// All pictures that were taken beside each other, small, as one file.
  async sheet(person, { file }) {
    const images = person.pictures.splice(0).map(({ width, png }) =>
      `<img width="${width * SHRUNK}" src="data:image/png;base64,${png.toString('base64')}">`);
    const page = await browser.newPage({ viewport: { width: 2000, height: 100 } });
    await page.setContent(`<body style="margin:0;background:#888"><div style="display:inline-flex;gap:8px;padding:8px;align-items:start">${images.join('')}</div>`);
    const { width, height } = await page.locator('div').boundingBox();
    const session = await page.context().newCDPSession(page);
    const clip = { x: 0, y: 0, width, height, scale: 1 };
    const { data } = await session.send('Page.captureScreenshot', { format: 'webp', quality: QUALITY, captureBeyondViewport: true, clip });
    writeFileSync(file, Buffer.from(data, 'base64'));
    await page.close();
  },
  /// What was wrong with all the pages that a person came to, from then on forgotten.
  async faults(person) {
    return person.faults.splice(0);
  },
};

const main = async () => {
  browser = await chromium.launch({ executablePath: process.env.QUITTANCE_TEST_CHROMIUM, args: ['--no-sandbox'] });
  for await (const line of createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    let answer;
    try {
      const person = people.get(order.who);
      const value = await (person ? orders[order.do](person, order) : orders.enter(order));
      answer = { value: value ?? null };
    } catch (fault) {
      answer = { fault: String(fault.stack ?? fault) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  await browser.close();
};

main().catch((fault) => {
  process.stderr.write(`${fault.stack}\n`);
  process.exit(1);
});
