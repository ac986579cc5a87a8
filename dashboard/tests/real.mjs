// The dashboard of a real node: node tests/real.mjs ADMIN_URL GATEWAY_URL ENDPOINT LOG
// Says `kill` and later `restart` on a line of its own when ENDPOINT is to be killed and started again; whoever started this
// does that. LOG is the node's log.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { openBrowser, openPage, overflow, runAll, shoot, until } from './browser.mjs';

const [admin, gateway, endpoint, log] = process.argv.slice(2);
// Two seconds are the promise; beside whole clusters on two cores a probe alone may wait that long.
const ROOM_MS = 10_000;
const LONG_MS = 60_000;

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

/** When the log says that the endpoint went down or came up, and why. */
function logged(message) {
  const lines = readFileSync(log, 'utf8').split('\n').filter((it) => it.startsWith('{')).map((it) => JSON.parse(it));
  const found = lines.filter((it) => it.message === message && it.endpoint === endpoint).at(-1);
  return found === undefined ? null : { ms: Date.parse(found.timestamp), reason: found.reason };
}

async function incident() {
  await page.goto(at('#/incidents'));
  const row = page.getByRole('table', { name: 'Incidents' }).getByRole('row').filter({ hasText: 'checkout' }).first();
  await row.getByText('open').waitFor({ timeout: ROOM_MS });
  await row.getByRole('link').click();
  await page.getByText('Minute by minute').waitFor();
  const fact = (name) => page.locator('.facts div').filter({ hasText: name }).locator('dd').first().textContent();
  const events = page.locator('main .events');
  // What the log gives as the reason is the cause here, and what was done about it follows.
  const { reason } = logged('endpoint is down');
  assert.ok((await fact('Cause')).includes(reason), `${await fact('Cause')} is not ${reason}`);
  await events.getByText(`checkout/${endpoint} is taken out of rotation`).first().waitFor();
  await events.locator('b').getByText('action').first().waitFor();
  assert.equal(await fact('Ended'), 'not yet');
  console.log('restart');
  await until('it is over', async () => (await fact('Ended')) !== 'not yet', LONG_MS);
  await events.locator('b').getByText('recovery').first().waitFor();
  await until('the log says so, too', () => logged('endpoint is up').ms > logged('endpoint is down').ms, LONG_MS);
  const lasted = (logged('endpoint is up').ms - logged('endpoint is down').ms) / 1000;
  const { items } = await ask('/incidents');
  assert.ok(Math.abs(items[0].duration_seconds - lasted) < 2, `${items[0].duration_seconds} s, by the log ${lasted} s`);
  assert.equal(await fact('Kind'), 'unplanned');
  assert.equal(await overflow(page), '');
  await shoot(page, 'real-incident');
}

async function objectives() {
  for (let count = 0; count < 40; count += 1) {
    await fetch(`${gateway}/status/500`).then((answer) => answer.text());
  }
  const wrong = async () => (await ask('/objectives')).items.find((it) => it.name === 'status');
  await until('the rule fires', async () => (await wrong()).burn[0].firing, LONG_MS);
  await page.goto(at('#/objectives/status'));
  const row = page.getByRole('table', { name: 'Objectives', exact: true }).getByRole('row').filter({ hasText: 'status' });
  await row.getByText('99.00 % availability over 28 d').waitFor();
  await until('the page shows the budget of the node', async () => {
    const [said, { bad, events }] = [await page.getByRole('region', { name: 'status' }).textContent(), await wrong()];
    return said.includes(`${bad} of ${events} were bad`);
  }, LONG_MS);
  await page.getByRole('table', { name: 'Burn rates of status' }).getByText('fires').first().waitFor({ timeout: LONG_MS });
  await page.getByRole('row').filter({ hasText: 'carts' }).first().waitFor();
  await shoot(page, 'real-objectives');
  await page.goto(at('#/overview'));
  await page.locator('.verdict').getByText(/P1 on status, [\d.]+x burn/).waitFor({ timeout: LONG_MS });
}

async function searched() {
  await page.goto(at('#/requests'));
  const form = page.getByRole('form', { name: 'Search requests' });
  await form.getByLabel('Status').fill('5xx');
  await form.getByLabel('In the path').fill('/status');
  await form.getByRole('button', { name: 'Search' }).click();
  const rows = page.getByRole('table', { name: 'Requests' }).locator('tbody tr');
  await rows.filter({ hasText: 'GET /status/500' }).first().waitFor({ timeout: LONG_MS });
  for (const line of await rows.allTextContents()) {
    assert.match(line, /500GET \/status\/500/);
  }
  await shoot(page, 'real-search');
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  await page.getByText('Waterfall').waitFor();
  await page.locator('h1').getByText('500 GET').waitFor();
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
    await page.waitForFunction(() => document.querySelector('main table, main h1') !== null && document.querySelector('main .failure, main [aria-busy]') === null);
    assert.equal(await overflow(page), '', name);
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
  overview, 'a killed endpoint': killed, 'its service': service, 'its incident': incident, 'a request explained': explained,
  'objectives that burn': objectives, 'requests that are searched for': searched, 'every page': everyPage, 'the page without scripts': plain,
  'nothing that a page must not do': () => assert.deepEqual(sins, []),
});
isOver = true;
await loading;
await browser.close();
process.exit(failed === 0 ? 0 : 1);
