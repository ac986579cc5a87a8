// A real node as the tests of its dashboard use it: what it says to a program, and the commands that the page shows.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export const PASSWORD = 'correct horse battery';

/** What the node answers whoever is logged in on the page. */
export async function ask(page, path) {
  return page.evaluate(async (asked) => {
    const answer = await fetch(`/api/v1${asked}`);
    return { status: answer.status, body: await answer.json() };
  }, path);
}

/** Runs a command line that the page has shown, as somebody does who copies it into a shell on the node. */
export function run(command, socket, folder = mkdtempSync(join(tmpdir(), 'mainstay-dashboard-'))) {
  const path = `${dirname(process.env.MAINSTAY)}:${process.env.PATH}`;
  try {
    return execFileSync('sh', ['-c', `${command} --admin '${socket}'`], { cwd: folder, env: { ...process.env, PATH: path }, encoding: 'utf8', stdio: 'pipe', timeout: 60_000 });
  } catch (error) {
    throw new Error(`\`${command}\` fails: ${error.stderr ?? error}`);
  }
}

export async function logIn(page, user, password = PASSWORD) {
  await page.getByLabel('User').fill(user);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
}

export async function logOut(page) {
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.getByLabel('Password').waitFor();
}

/** Opens an action's dialog, fills it, and answers the dialog and the command line that it shows. */
export async function propose(page, button, fill = async () => undefined) {
  await button.click();
  const dialog = page.getByRole('dialog');
  await fill(dialog);
  return { dialog, command: await dialog.locator('.command code').textContent() };
}

/** Does what the dialog proposes, to its good end. */
export async function confirm(page, dialog) {
  const harm = dialog.getByRole('checkbox');
  if (await harm.count()) {
    assert.ok(await dialog.locator('button[type=submit]').isDisabled(), 'harm is not done before it is acknowledged');
    await harm.check();
  }
  await dialog.locator('button[type=submit]').click();
  await dialog.getByText('Done.').or(dialog.getByRole('alert')).waitFor({ timeout: 60_000 });
  const failure = dialog.getByRole('alert');
  assert.equal((await failure.count()) === 0 ? '' : await failure.textContent(), '');
  await dialog.getByRole('button', { name: 'Close' }).click();
  await dialog.waitFor({ state: 'detached' });
}

/** That the reader is told why it may not, and cannot. Answers the command line that is shown all the same. */
export async function refused(page, button, why) {
  const { dialog, command } = await propose(page, button);
  await dialog.locator('.refusal').getByText(why).waitFor();
  assert.ok(await dialog.locator('button[type=submit]').isDisabled());
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
  return command;
}
