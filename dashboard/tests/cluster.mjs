// The cluster's page of a real node of three: node tests/cluster.mjs ADMIN_URL SOCKET ADDRESS NODE VICTIM TEXT OTHER_TEXT
// NODE answers; ADDRESS is a floating one; TEXT and OTHER_TEXT are files with configurations that the nodes can serve.
// Says `kill` on a line of its own when the node VICTIM is to be killed; whoever started this does that.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openBrowser, openPage, overflow, runAll, shoot, until } from './browser.mjs';
import { ask, confirm, logIn, propose, refused, run } from './node.mjs';

const [admin, socket, address, node, victim, textFile, otherFile] = process.argv.slice(2);
const [text, other] = [textFile, otherFile].map((file) => readFileSync(file, 'utf8'));
const browser = await openBrowser();
const { page, sins } = await openPage(browser, admin, { height: 1000 });
const LONG_MS = 60_000;

const table = (name) => page.getByRole('table', { name, exact: true });
const row = (name, about) => table(name).getByRole('row').filter({ hasText: about }).first();
const cluster = async () => (await ask(page, '/cluster')).body;
const config = async () => (await ask(page, '/config')).body;
const allServe = async (version) => {
  const { nodes, current } = await config();
  return current === version && nodes.length === 3 && nodes.every((it) => it.serves === version);
};

/** Waits until the page says this of a node. */
const stands = (name, word) => row('Nodes', name).locator('.mark').filter({ hasText: new RegExp(`${word}$`) }).waitFor({ timeout: LONG_MS });

async function members() {
  await page.goto(`${admin}/dashboard/#/cluster`);
  await logIn(page, 'ada');
  await page.getByText(/a majority is there for/).waitFor({ timeout: LONG_MS });
  const said = await cluster();
  for (const member of said.members) {
    await stands(member.name, member.name === node ? 'here' : 'up');
    assert.ok((await row('Nodes', member.name).textContent()).includes(member.address));
  }
  assert.equal(said.members.length, 3);
  await row('Nodes', said.leader).getByText('leader', { exact: true }).waitFor({ timeout: LONG_MS });
  await page.locator('.facts').getByText(/^[\d.]+ s left$/).first().waitFor();
  assert.ok(said.session.seconds_left > 0);
  await until('roles have holders', async () => (await cluster()).roles.some((it) => it.node !== null), LONG_MS);
  for (const { role, node: holder, token } of (await cluster()).roles.filter((it) => it.node !== null)) {
    await row('Roles', role).getByText(holder, { exact: true }).waitFor({ timeout: LONG_MS });
    assert.ok(token > 0);
    // Whoever holds it, its lease's time is asked of that node.
    await row('Roles', role).getByText(/^[\d.]+ s$/).waitFor({ timeout: LONG_MS });
  }
  assert.equal(await overflow(page), '');
}

/** Another node is asked, and steered, through this one; its own endpoints alone change. */
async function another() {
  const other = (await cluster()).members.map((it) => it.name).find((name) => name !== node && name !== victim);
  const weight = async (path) => (await ask(page, path)).body.services[0].endpoints[0].weight;
  await page.getByLabel('Which node answers').selectOption(other);
  await until('the other node answers', async () => (await page.title()).endsWith(other), LONG_MS);
  await page.goto(`${admin}/dashboard/#/services/app/127.0.0.1%3A1`);
  const button = page.locator('.panel').getByRole('button', { name: 'Weight' });
  const { dialog, command } = await propose(page, button, (it) => it.getByLabel('Weight').fill('5'));
  assert.equal(command, `mainstay weight app/127.0.0.1:1 5 --node ${other}`);
  await confirm(page, dialog);
  await until('it weighs 5 there', async () => (await weight(`/nodes/${other}/status`)) === 5, LONG_MS);
  assert.equal(await weight('/status'), 1, 'and not here');
  run(`mainstay weight app/127.0.0.1:1 --undo --node ${other}`, socket);
  run(command, socket);
  await until('the command does the same', async () => (await weight(`/nodes/${other}/status`)) === 5, LONG_MS);
  await shoot(page, 'three-other-node');
  await page.getByLabel('Which node answers').selectOption(node);
  await until('this node answers', async () => (await page.title()).endsWith(node), LONG_MS);
  await page.goto(`${admin}/dashboard/#/cluster`);
}

/** The numbers of all nodes together, and whose they are: before a node dies, and after. */
async function together(nodes, missing) {
  await page.goto(`${admin}/dashboard/#/overview`);
  const choice = page.getByRole('group', { name: /^Whose numbers/ }).getByRole('button', { name: 'Whole cluster' });
  await choice.focus();
  await page.keyboard.press('Enter');
  const covered = page.locator('.covered');
  await covered.getByText(`${nodes.length} of 3 nodes: ${[...nodes].sort().join(', ')}, added up by ${node}`).waitFor({ timeout: LONG_MS });
  assert.match(await covered.locator('.age').textContent(), /^data \d+ s old$/);
  for (const name of nodes) {
    await row('Nodes of the cluster', name).getByText(/ready/).first().waitFor();
  }
  if (missing !== null) {
    await covered.getByText(new RegExp(`^. without ${missing}: `)).waitFor();
    await row('Nodes of the cluster', missing).getByText('not in the sum').waitFor();
  }
  const { body } = await ask(page, '/overview?scope=cluster');
  const { seen } = body.services.find((it) => it.name === 'app');
  assert.deepEqual(seen.map((it) => it.node), [...nodes].sort());
  await row('Services of the cluster', 'app').getByText(seen.map((it) => `${it.node} ${it.eligible} of ${it.endpoints}`).join('; ')).waitFor();
  for (const width of [390, 1280]) {
    await page.setViewportSize({ width, height: 1000 });
    assert.equal(await overflow(page), '', `at ${width} px`);
    await shoot(page, `three-together-${nodes.length}-${width}`);
  }
  await row('Services of the cluster', 'app').getByRole('link').click();
  for (const name of nodes) {
    await row('app, node by node', name).waitFor();
  }
  await page.goto(`${admin}/dashboard/#/cluster`);
}

async function allTogether() {
  const { members } = await cluster();
  await together(members.map((it) => it.name), null);
}

/** A node that does not answer is named beside the sum of the others. */
async function oneMissing() {
  console.log('kill');
  await stands(victim, 'down');
  const { members } = await cluster();
  await together(members.map((it) => it.name).filter((name) => name !== victim), victim);
}

async function addresses() {
  const holder = async () => (await ask(page, '/addresses')).body.find((it) => it.ip === address)?.holder ?? null;
  await until('the address is held', async () => (await holder()) !== null, LONG_MS);
  const before = await holder();
  await row('Floating addresses', address).getByText(before, { exact: true }).first().waitFor({ timeout: LONG_MS });
  const button = page.getByRole('button', { name: new RegExp(`^move ${address.replaceAll('.', '\\.')} to`) }).first();
  await button.waitFor({ timeout: LONG_MS });
  const { dialog, command } = await propose(page, button);
  const [, to] = /^mainstay address move \S+ (\S+)$/.exec(command);
  assert.notEqual(to, before);
  await confirm(page, dialog);
  await until('the address is at the other node', async () => (await holder()) === to, LONG_MS);
  await row('Floating addresses', address).getByText(to, { exact: true }).first().waitFor({ timeout: LONG_MS });
  run(command, socket);
}

/** Opens the dialog of a release and fills in how it is to be done. */
const stage = (content, note) =>
  propose(page, page.getByRole('button', { name: 'Stage a new version' }), async (dialog) => {
    await dialog.getByLabel(/^The configuration/).fill(content);
    await dialog.getByLabel('Why').fill(note);
    await dialog.getByLabel(/^Seconds that one node/).fill('0');
  });

async function staged() {
  const wrong = await stage(`${text}\n[[listener]]\nname = "x"\nbind = "nowhere"\n`, 'wrong');
  await wrong.dialog.getByRole('checkbox').check();
  await wrong.dialog.locator('button[type=submit]').click();
  await wrong.dialog.getByRole('alert').getByText(/bind/).first().waitFor();
  await page.keyboard.press('Escape');
  assert.equal((await config()).current, null, 'nothing has been changed');

  const first = await stage(text, 'the first');
  assert.equal(first.command, "mainstay config apply mainstay.toml --builds-on 0 --now --note 'the first'");
  await confirm(page, first.dialog);
  await until('all serve version 1', () => allServe(1), LONG_MS);
  const second = await stage(other, 'another path');
  // What changes is shown before it is asked for.
  await second.dialog.locator('.diff .added').first().waitFor();
  await shoot(page, 'three-stage');
  await confirm(page, second.dialog);
  await until('all serve version 2', () => allServe(2), LONG_MS);
  await row('Versions of the configuration', 'another path').getByText('ada').waitFor({ timeout: LONG_MS });
  await page.getByText('version 2: done').first().waitFor({ timeout: LONG_MS });

  // The command does the same with the file that it names.
  const folder = mkdtempSync(join(tmpdir(), 'mainstay-dashboard-'));
  writeFileSync(join(folder, 'mainstay.toml'), `${other}\n# by the command\n`);
  assert.throws(() => run(first.command, socket, folder), 'it builds on nothing, and version 2 is current');
  run(first.command.replace('--builds-on 0', '--builds-on 2'), socket, folder);
  await until('all serve version 3', () => allServe(3), LONG_MS);
  await page.getByText('version 3: done').first().waitFor({ timeout: LONG_MS });
}

async function compared() {
  const versions = table('Versions of the configuration');
  await versions.getByText('another path').click();
  const shown = page.getByRole('region', { name: 'From version 1 to 2' });
  const lines = async (kind) => (await shown.locator(`.diff .${kind}`).allTextContents()).map((it) => it.replace(/^[\s\d]*[+-] /, ''));
  await shown.locator('.diff .added').first().waitFor();
  const [before, after] = [text.split('\n'), other.split('\n')];
  assert.deepEqual(await lines('added'), after.filter((it) => !before.includes(it)));
  assert.deepEqual(await lines('removed'), before.filter((it) => !after.includes(it)));
  await shoot(page, 'three-cluster-diff');
  await versions.getByText('another path').click();
}

async function rolledBack() {
  const button = page.getByRole('button', { name: 'roll back to version 1' });
  const { dialog, command } = await propose(page, button, (it) => it.getByLabel(/^Seconds that one node/).fill('0'));
  assert.equal(command, 'mainstay config rollback 1 --now');
  await confirm(page, dialog);
  await until('all serve version 4', () => allServe(4), LONG_MS);
  assert.equal((await ask(page, '/config/versions/4')).body.text, text);
  run('mainstay config rollback 2 --now', socket);
  await until('all serve version 5', () => allServe(5), LONG_MS);
  await page.getByText('version 5: done').first().waitFor({ timeout: LONG_MS });
  await page.evaluate(() => window.scrollTo(0, 0));
  await shoot(page, 'three-cluster');
}

async function removed() {
  await stands(victim, 'down');
  await shoot(page, 'three-cluster-down');
  const { dialog, command } = await propose(page, page.getByRole('button', { name: `remove ${victim}` }));
  assert.equal(command, `mainstay cluster remove ${victim} --two`);
  await confirm(page, dialog);
  await until('it is no member', async () => (await cluster()).members.every((it) => it.name !== victim), LONG_MS);
  await until('nor on the page', async () => (await table('Nodes').getByText(victim, { exact: true }).count()) === 0, LONG_MS);
  run(`${command} --help`, socket);
}

async function operator() {
  await page.getByRole('button', { name: 'Log out' }).click();
  await logIn(page, 'oli');
  await table('Nodes').waitFor();
  await refused(page, page.getByRole('button', { name: /^remove / }).first(), 'this takes an admin');
  await refused(page, page.getByRole('button', { name: 'Stage a new version' }), 'this takes an admin');
  await table('Versions of the configuration').getByText('another path').first().click();
  await page.getByRole('alert').first().waitFor();
}

const failed = await runAll({
  'nodes, roles and leases': members, 'another node': another, 'all nodes together': allTogether, 'an address is moved': addresses, 'versions are staged': staged, 'two versions are compared': compared,
  'an earlier version comes back': rolledBack, 'a node that is missing': oneMissing, 'a dead node is removed': removed, 'an operator': operator,
  'nothing that a page must not do': () => assert.deepEqual(sins, []),
});
await browser.close();
process.exit(failed === 0 ? 0 : 1);
