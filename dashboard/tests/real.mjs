// The dashboard of a real node: node tests/real.mjs ADMIN_URL GATEWAY_URL ENDPOINT
// Says `kill` on a line of its own when ENDPOINT is to be killed; whoever started this does that.

import assert from 'node:assert/strict';
import { openBrowser, openPage, overflow, runAll, shoot, until } from './browser.mjs';

const [admin, gateway, endpoint] = process.argv.slice(2);
// Two seconds are the promise; beside whole clusters on two cores a probe alone may wait that long.
const ROOM_MS = 10_000;

const browser = await openBrowser();
const { page, sins } = await openPage(browser, admin);
const at = (hash) => `${admin}/dashboard/${hash}`;
let isOver = false;

const ask = async (path) => (await fetch(`${admin}/api/v1${path}`)).json();

/** Requests, so that there is something to see; a few a second are enough. */
async function load() {
  for (let count = 0; !isOver; count += 1) {
    await fetch(`${gateway}/${count % 3 === 0 ? 'list' : 'cart'}?item=${count}`).then((answer) => answer.text()).catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function overview() {
  await page.goto(`${admin}/`);
  await page.getByText('serving: 2 of 2 services healthy').waitFor();
  assert.equal(new URL(page.url()).pathname, '/dashboard/', 'a browser is led to the dashboard');
  assert.match(await page.locator('.age').textContent(), /^data \d s old$/);
  assert.equal(await overflow(page), '');
  await until('a rate is shown', async () => Number(await page.locator('td.number').nth(1).textContent()) > 0);
  await shoot(page, 'real-overview');
}

async function killed() {
  await page.goto(at('#/overview'));
  await page.getByText('serving: 2 of 2 services healthy').waitFor();
  const begin = Date.now();
  console.log('kill');
  await page.getByText('3 of 4 endpoints up').waitFor({ timeout: ROOM_MS });
  console.log(`     on the overview after ${Date.now() - begin} ms`);
  await page.locator('.events').getByText(`checkout/${endpoint} is taken out of rotation`).waitFor({ timeout: ROOM_MS });
  const { items } = await ask('/events?service=checkout');
  const event = items.find((it) => it.change === 'health' && it.to === 'down');
  assert.equal(event.subject.name, endpoint);
  await until('its zone has one endpoint less', () => page.getByText('1 of 2', { exact: true }).isVisible());
  await shoot(page, 'real-killed');
}

async function incident() {
  const answer = await fetch(`${admin}/api/v1/incidents`);
  await page.goto(at('#/incidents'));
  if (answer.status === 404) {
    await page.getByText('has no incidents').waitFor();
    return;
  }
  const open = page.getByRole('table', { name: 'Incidents' }).getByRole('link').first();
  await open.waitFor({ timeout: ROOM_MS });
  await open.click();
  await page.getByText('Minute by minute').waitFor();
  await page.locator('.events').getByText(endpoint).first().waitFor();
  await shoot(page, 'real-incident');
}

async function service() {
  await page.goto(at(`#/services/checkout/${encodeURIComponent(endpoint)}`));
  await page.locator('.panel').getByText(/down since/).waitFor();
  await until('lines are drawn', async () => (await page.locator('.chart canvas').count()) >= 3);
  await shoot(page, 'real-service');
  await page.locator('.panel').getByRole('button', { name: 'Drain' }).click();
  const dialog = page.getByRole('dialog');
  assert.equal(await dialog.locator('code').textContent(), `mainstay drain checkout/${endpoint}`);
  // Over TCP without users nothing is changed, which is said before or after the attempt.
  const confirm = dialog.locator('button[type=submit]');
  if (await confirm.isEnabled()) {
    await confirm.click();
    await dialog.getByRole('alert').waitFor();
  } else {
    await dialog.locator('.refusal').waitFor();
  }
  await page.keyboard.press('Escape');
  assert.equal((await ask('/status')).services.flatMap((it) => it.endpoints).some((it) => it.draining), false);
}

async function explained() {
  const answer = await fetch(`${gateway}/cart?item=7`);
  await answer.text();
  await page.goto(at(`#/requests/${answer.headers.get('x-request-id')}`));
  await page.getByText('Waterfall').waitFor();
  assert.ok((await page.locator('.waterfall li').count()) >= 2);
  await shoot(page, 'real-request');
}

async function everyPage() {
  for (const name of ['cluster', 'objectives', 'alerts', 'requests', 'audit', 'services']) {
    await page.goto(at(`#/${name}`));
    await page.waitForFunction(() => document.querySelector('main table, main .quiet:not([aria-busy]), main h1, main .failure') !== null);
    await shoot(page, `real-${name}`);
  }
}

async function plain() {
  const other = await openPage(browser, admin);
  await other.page.goto(`${admin}/status`);
  await other.page.getByText('endpoints serve').first().waitFor();
  await shoot(other.page, 'real-status');
  assert.deepEqual(other.sins, []);
  await other.close();
}

const loading = load();
// Pictures for the documentation show more than the first seconds: `make screenshots` asks for that.
await new Promise((resolve) => setTimeout(resolve, Number(process.env.LINGER_SECONDS ?? 0) * 1000));
const failed = await runAll({
  overview, 'a killed endpoint': killed, 'its incident': incident, 'its service': service, 'a request explained': explained,
  'every page': everyPage, 'the page without scripts': plain,
  'nothing that a page must not do': () => assert.deepEqual(sins, []),
});
isOver = true;
await loading;
await browser.close();
process.exit(failed === 0 ? 0 : 1);
