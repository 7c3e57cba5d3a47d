// Drives the browser of tests/portal-screens over its debugging port: logs in, visits each page in each size and colour, looks for
// what sticks out, and takes a picture.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';

const [port, base, name, folder, ...wanted] = process.argv.slice(2);
const pages = wanted.length > 0 ? wanted : [
  '/billing/', '/billing/invoices', '/billing/engagements', '/billing/time', '/billing/credits', '/billing/disputes', '/api/alerts/',
  '/api/billing/', '/api/billing/upgrade/', '/api/billing/payment-history/', '/api/billing/settings/',
];
const looks = [
  ['desktop-light', 1280, 900, 'light'], ['desktop-dark', 1280, 900, 'dark'], ['phone-light', 390, 844, 'light'], ['phone-dark', 390, 844, 'dark'],
];

const targets = await (await fetch(`http://127.0.0.1:${port}/json/list`)).json();
const socket = new WebSocket(targets.find((target) => target.type === 'page').webSocketDebuggerUrl);
await new Promise((open, failed) => { socket.onopen = open; socket.onerror = failed; });
const waiting = new Map();
let last = 0;
let loaded = () => {};
socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  if (message.method === 'Page.loadEventFired') loaded();
  waiting.get(message.id)?.(message);
};
const send = async (method, params = {}) => {
  const id = (last += 1);
  socket.send(JSON.stringify({ id, method, params }));
  const { result, error } = await new Promise((answer) => waiting.set(id, answer));
  waiting.delete(id);
  if (error) throw new Error(`${method}: ${error.message}`);
  return result;
};
const visit = async (path) => {
  const done = new Promise((fired) => { loaded = fired; });
  await send('Page.navigate', { url: base + path });
  await done;
};
const run = async (expression) => {
  const { result, exceptionDetails } = await send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
  return result.value;
};

await send('Page.enable');
await send('Runtime.enable');
await send('Network.enable');
await send('Page.setBypassCSP', { enabled: true }); // for the checks below only
if (process.env.PORTAL_SESSION) {
  await send('Network.setCookie', { url: base, name: '__Host-quittance', value: process.env.PORTAL_SESSION, path: '/', secure: true, httpOnly: true });
} else {
  await visit('/login');
  const done = new Promise((fired) => { loaded = fired; });
  await run(`document.getElementById('name').value = ${JSON.stringify(name)};
    document.getElementById('password').value = ${JSON.stringify(process.env.PORTAL_PASSWORD ?? '')};
    document.getElementById('code').value = ${JSON.stringify(process.env.PORTAL_CODE ?? '')};
    document.querySelector('form.form').requestSubmit(); 0`);
  await done;
}
mkdirSync(folder, { recursive: true });
const axe = process.env.AXE ? readFileSync(process.env.AXE, 'utf8') : undefined;
let faults = 0;
for (const [look, width, height, scheme] of looks) {
  await send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: width < 500 });
  await send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
  for (const path of pages) {
    await visit(path);
    const page = await run(`({ title: document.title, wide: document.documentElement.scrollWidth, high: document.documentElement.scrollHeight, path: location.pathname })`);
    if (page.path === '/login') throw new Error('not logged in');
    if (page.wide > width) {
      faults += 1;
      const what = await run(`[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1).slice(0, 5).map((e) => e.tagName + '.' + e.className).join(' ')`);
      console.log(`${look} ${path}: ${page.wide} wide on a screen of ${width}: ${what}`);
    }
    if (axe) {
      await run(`${axe}; 0`);
      const found = await run(`axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations.map((v) => [v.impact, v.id, v.help, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + ' ' + (n.any[0]?.message ?? '')).join(' | ')].join(' · ')))`);
      for (const line of found) {
        if (/^(serious|critical)/.test(line)) faults += 1;
        console.log(`${look} ${path}: ${line}`);
      }
    }
    const { data } = await send('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true, clip: { x: 0, y: 0, width, height: Math.min(page.high, Number(process.env.MOST_HIGH ?? 3000)), scale: Number(process.env.SCALE ?? 1) } });
    const file = `${folder}/${path.replace(/^\/|\/$/g, '').replace(/[^a-z0-9]+/gi, '-')}-${look}.png`;
    writeFileSync(file, Buffer.from(data, 'base64'));
  }
}
console.log(`${pages.length * looks.length} pictures in ${folder}, ${faults} faults`);
socket.close();
process.exitCode = faults > 0 ? 1 : 0;
