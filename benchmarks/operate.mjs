// Drives the Prefect UI as an operator would, for `operate.py`: node operate.mjs ADDRESS FOLDER, then one command a line on stdin.
import { createRequire } from 'node:module';
import readline from 'node:readline';

const [, , address, folder] = process.argv;
const { chromium } = createRequire(`${process.env.PLAYWRIGHT_HOME}/`)('playwright-core');
const quiet = ['--no-sandbox', '--disable-gpu', '--disable-background-networking'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: quiet });
const page = await browser.newPage({ viewport: { width: 1400, height: 1000 } });
page.setDefaultTimeout(240_000);

const commands = {
  // a page of the UI, once a text is on it
  async open({ path, text, name }) {
    await page.goto(`${address}${path}`, { waitUntil: 'commit' });
    if (text) await page.getByText(text).first().waitFor();
    return shot(name);
  },
  // a value of a field that offers several
  async choose({ label, value }) {
    await page.getByRole('combobox', { name: label }).or(page.getByRole('button', { name: label })).first().click();
    await page.getByRole('option', { name: value, exact: true }).click();
  },
  // what is typed into a field of text
  async fill({ label, value }) {
    await page.getByLabel(label).first().fill(value);
  },
  async click({ button, name }) {
    await page.getByRole('button', { name: button }).first().click();
    return shot(name);
  },
  // an entry of the menu of a page, and the question that it asks, answered
  async menu({ entry, name }) {
    await page.locator('button:has(svg.lucide-ellipsis-vertical)').first().click();
    await page.getByRole('menuitem', { name: entry }).click();
    return shot(name);
  },
  async confirm({ button, name }) {
    await page.getByRole('dialog').or(page.getByRole('alertdialog')).getByRole('button', { name: button }).first().click();
    return shot(name);
  },
  // a page that is left open draws on and on, at the cost of what it shows
  async leave() {
    await page.goto('about:blank');
  },
  async follow({ link, name }) {
    const target = page.getByRole('link', { name: link }).first();
    const opened = page.context().waitForEvent('page', { timeout: 5000 }).catch(() => page);
    await target.click();
    const there = await opened;
    await there.waitForLoadState();
    if (name) await there.screenshot({ path: `${folder}/${name}.png` });
    return { url: there.url(), title: await there.title() };
  },
};

async function shot(name) {
  if (!name) return {};
  await page.waitForTimeout(1500);
  await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
  return { url: page.url() };
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { command, ...given } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ ok: true, ...((await commands[command](given)) ?? {}) }));
  } catch (failure) {
    await page.screenshot({ path: `${folder}/failed.png`, fullPage: true }).catch(() => {});
    console.log(JSON.stringify({ ok: false, error: `${failure}`.split('\n')[0] }));
  }
}
await browser.close();
