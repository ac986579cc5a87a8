// Who logs in at a real node, and what they may do with it: node tests/access.mjs ADMIN_URL SOCKET UP DOWN
// UP is an endpoint of `checkout` that serves, DOWN the only one of `mail`. The users are vic, oli, max (of mail only) and ada.
// Says `other password` on a line of its own when oli is to get another one; whoever started this does that.

import assert from 'node:assert/strict';
import { openBrowser, openPage, overflow, runAll, shoot, until } from './browser.mjs';
import { nameless, poorContrast } from './contrast.mjs';
import { ask, confirm, logIn, logOut, propose, refused, run } from './node.mjs';

const [admin, socket, up, down] = process.argv.slice(2);
const browser = await openBrowser();
const { page, sins } = await openPage(browser, admin);
const at = (hash) => `${admin}/dashboard/${hash}`;
const LONG_MS = 60_000;

const endpointPage = at(`#/services/checkout/${encodeURIComponent(up)}`);
const panel = page.locator('.panel');
const buttonOf = (name) => panel.getByRole('button', { name, exact: true });
const who = () => page.locator('header').getByText(/\((viewer|operator|admin)\)/).textContent();

/** What the node says of the endpoint. */
async function endpoint() {
  const { body } = await ask(page, '/status');
  return body.services.flatMap((it) => it.endpoints).find((it) => it.name === up);
}

async function login() {
  await page.goto(at('#/alerts'));
  await page.getByLabel('User').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute('name')), 'user', 'one can type at once');
  assert.deepEqual(await page.evaluate(nameless), []);
  assert.deepEqual(await page.evaluate(poorContrast), []);
  await logIn(page, 'vic', 'a wrong one entirely');
  await page.getByRole('alert').getByText(/^There is no such user, or the password is another one\.$/).waitFor();
  await shoot(page, 'real-login');
  await logIn(page, 'vic');
  // The page that was asked for is the page that comes.
  await page.getByRole('table', { name: 'Alerts', exact: true }).waitFor();
  assert.equal(await who(), 'vic (viewer)');
}

async function viewer() {
  await page.goto(endpointPage);
  assert.match(await buttonOf('Drain').getAttribute('class'), /cannot/);
  for (const name of ['Drain', 'Weight', 'Eject', 'Reset']) {
    const command = await refused(page, buttonOf(name), 'vic may look, not change anything.');
    assert.match(command, new RegExp(`^mainstay \\w+ checkout/${up}`));
  }
  const { body: session } = await ask(page, '/session');
  const status = await page.evaluate(async ([csrf, name]) => {
    const body = JSON.stringify({ service: 'checkout', endpoint: name, drain: true });
    return (await fetch('/api/v1/drain', { method: 'POST', body, headers: { 'x-mainstay-csrf': csrf } })).status;
  }, [session.csrf, up]);
  assert.equal(status, 403, 'the page only says what the node would');
  assert.equal((await endpoint()).draining, false);
  await logOut(page);
  assert.equal((await ask(page, '/status')).status, 401, 'the session is over at the node, too');
}

async function scoped() {
  await page.goto(endpointPage);
  await logIn(page, 'max');
  await panel.waitFor();
  await refused(page, buttonOf('Drain'), 'max may only change mail.');
  await page.goto(at(`#/services/mail/${encodeURIComponent(down)}`));
  const { dialog } = await propose(page, buttonOf('Reset'));
  await confirm(page, dialog);
  await logOut(page);
}

/** An action by its button, the effect that the node tells of, and the same by the command that was shown. */
async function both(button, fill, expected, holds, undo) {
  for (const way of ['button', 'command']) {
    // Loaded anew: the button asks with the version that the page has seen, which a change a moment ago has made an old one.
    await page.goto('about:blank');
    await page.goto(endpointPage);
    await panel.waitFor();
    const { dialog, command } = await propose(page, buttonOf(button), fill);
    assert.equal(command, expected);
    if (way === 'button') {
      await confirm(page, dialog);
    } else {
      await page.keyboard.press('Escape');
      run(command, socket);
    }
    await until(`${command} by its ${way}`, async () => holds(await endpoint()), LONG_MS);
    await undo(way);
  }
}

async function operator() {
  await page.goto(endpointPage);
  await logIn(page, 'oli');
  await panel.waitFor();
  assert.equal(await who(), 'oli (operator)');
  const target = `checkout/${up}`;
  const nothing = async () => undefined;
  const alternate = (command, holds) => async (way) => {
    if (way === 'button') {
      run(command, socket);
      await until(`${command}`, async () => holds(await endpoint()), LONG_MS);
      await until('the page shows it', async () => (await panel.getByText('by an operator').count()) === 0, LONG_MS);
    }
  };
  const drained = (is) => (it) => it.draining === is;
  await both('Drain', nothing, `mainstay drain ${target}`, drained(true), async (way) => {
    await panel.getByText('gets no new requests').waitFor();
    return alternate(`mainstay drain ${target} --undo`, drained(false))(way);
  });
  await both('Undrain', nothing, `mainstay drain ${target} --undo`, drained(false), async (way) => {
    if (way === 'button') {
      run(`mainstay drain ${target}`, socket);
      await buttonOf('Undrain').waitFor();
    }
  });
  const weighs = (value) => (it) => it.weight === value;
  const weight = (value) => (it) => it.getByLabel('Weight').fill(value);
  await both('Weight', weight('7'), `mainstay weight ${target} 7`, weighs(7), alternate(`mainstay weight ${target} --undo`, weighs(1)));
  await both('Weight', weight(''), `mainstay weight ${target} --undo`, weighs(1), async (way) => {
    if (way === 'button') {
      run(`mainstay weight ${target} 9`, socket);
    }
  });
  const ejected = (is) => (it) => it.ejected === is;
  await both('Eject', (it) => it.getByLabel('Seconds').fill('3000'), `mainstay eject ${target} --for 3000s`, ejected(true), alternate(`mainstay reset ${target}`, ejected(false)));
  await both('Reset', nothing, `mainstay reset ${target}`, ejected(false), async (way) => {
    if (way === 'button') {
      run(`mainstay eject ${target} --for 3000s`, socket);
      await until('it is ejected again', async () => ejected(true)(await endpoint()), LONG_MS);
    }
  });
  await shoot(page, 'real-endpoint-operator');
}

/** The alert about the service without endpoints, as the node tells of it. */
async function alert() {
  const { body } = await ask(page, '/alerts');
  return body.items.find((it) => it.name === 'ServiceDown' && it.labels.service === 'mail');
}

async function alerts() {
  await page.goto(at('#/alerts'));
  await until('the alert fires', async () => (await alert())?.state === 'firing', LONG_MS);
  const row = page.getByRole('table', { name: 'Alerts', exact: true }).getByRole('row').filter({ hasText: 'mail' }).filter({ hasText: 'P1' }).first();
  await row.getByText('firing').waitFor({ timeout: LONG_MS });
  await shoot(page, 'real-alert-fires');
  const { id } = await alert();
  let proposed = await propose(page, row.getByRole('button', { name: 'acknowledge' }), (it) => it.getByLabel('Note').fill("it's mine"));
  assert.equal(proposed.command, `mainstay alerts acknowledge ${id} --note 'it'\\''s mine'`);
  await confirm(page, proposed.dialog);
  await until('it is acknowledged', async () => (await alert()).acknowledged?.note === "it's mine", LONG_MS);
  await row.getByText(/taken by/).waitFor({ timeout: LONG_MS });
  run(proposed.command, socket);

  const fill = async (it) => {
    await it.getByLabel('Minutes').fill('30');
    await it.getByLabel('Why').fill('disk is replaced');
  };
  const silences = async () => (await ask(page, '/silences')).body.items.filter((it) => it.state === 'active');
  proposed = await propose(page, row.getByRole('button', { name: 'silence' }), fill);
  assert.match(proposed.command, /^mainstay silence add alertname=ServiceDown .*service=mail.* --for 30m --comment 'disk is replaced'$/);
  await confirm(page, proposed.dialog);
  await until('the node has the silence', async () => (await silences()).length === 1, LONG_MS);
  await until('the alert is held back', async () => (await alert()).silenced_by === (await silences())[0].id, LONG_MS);
  await row.getByText('silenced').waitFor({ timeout: LONG_MS });
  run(proposed.command, socket);
  await until('the command makes the same', async () => (await silences()).length === 2, LONG_MS);
  const [first, second] = await silences();
  assert.deepEqual(second.matchers, first.matchers);

  const expire = page.getByRole('button', { name: /^expire the silence/ });
  await until('both are listed', async () => (await expire.count()) === 2, LONG_MS);
  await shoot(page, 'real-silences');
  proposed = await propose(page, expire.first());
  const [, ended] = /^mainstay silence remove (\S+)$/.exec(proposed.command);
  await confirm(page, proposed.dialog);
  await until('one is left', async () => (await silences()).length === 1 && (await silences())[0].id !== ended, LONG_MS);
  await until('one is left on the page', async () => (await expire.count()) === 1, LONG_MS);
  proposed = await propose(page, expire.first());
  await page.keyboard.press('Escape');
  run(proposed.command, socket);
  await until('none is left', async () => (await silences()).length === 0, LONG_MS);
}

async function audited() {
  await page.goto(at('#/audit'));
  const table = page.getByRole('table', { name: 'Audit' });
  await table.waitFor();
  for (const [action, user] of [['/api/v1/drain', 'oli'], ['/api/v1/weight', 'oli'], ['/api/v1/eject', 'oli'], ['/api/v1/silences', 'oli'], ['/api/v1/reset', 'max']]) {
    const entry = table.getByRole('row').filter({ hasText: action }).filter({ hasText: user });
    await entry.filter({ hasText: 'done' }).first().waitFor();
  }
  await table.getByRole('row').filter({ hasText: '/api/v1/drain' }).filter({ hasText: 'vic' }).filter({ hasText: 'refused 403' }).waitFor();
  await page.getByRole('button', { name: 'Verify the chain' }).click();
  await page.getByText(/intact, \d+ entries/).first().waitFor();
  assert.equal(await overflow(page), '');
  await shoot(page, 'access-audit');
}

async function ended() {
  console.log('other password');
  await page.getByText('Your session has ended. Log in again.').waitFor({ timeout: LONG_MS });
  await page.getByLabel('Password').waitFor();
}

async function tooOften() {
  // The guesses of a program; the page then has to say how long to wait.
  await page.evaluate(async () => {
    for (let count = 0; count < 12; count += 1) {
      await fetch('/api/v1/session', { method: 'POST', body: JSON.stringify({ user: 'nobody', password: `guess number ${count}` }) });
    }
  });
  await logIn(page, 'ada');
  await page.getByRole('alert').getByText(/^Too many failed logins\. Try again in \d+ s\.$/).waitFor();
  assert.ok(await page.getByRole('button', { name: 'Log in', exact: true }).isDisabled());
  await shoot(page, 'real-login-wait');
}

const failed = await runAll({
  'a login, and one that fails': login, 'a viewer only looks': viewer, 'a user of one service': scoped, 'an operator and every action on an endpoint': operator,
  'an alert that fires, is taken on and silenced': alerts, 'all of it is in the audit trail': audited, 'a session that ends': ended,
  'too many failed logins': tooOften, 'nothing that a page must not do': () => assert.deepEqual(sins, []),
});
await browser.close();
process.exit(failed === 0 ? 0 : 1);
