// A login by OpenID Connect in a real browser: node tests/oidc.mjs ADMIN_URL USER. Cookies go, or do not go, along with what another site
// leads to as browsers decide that.

import assert from 'node:assert/strict';
import { openBrowser, openPage, runAll, shoot } from './browser.mjs';

const [admin, user] = process.argv.slice(2);
const browser = await openBrowser();
const { page } = await openPage(browser, admin);

async function signsIn() {
  await page.goto(`${admin}/dashboard/`);
  const link = page.getByText('Sign in with Test ID');
  await link.waitFor();
  await shoot(page, 'oidc-login');
  await link.click();
  await page.locator('input[name=login]').fill(user);
  await page.locator('input[name=password]').fill('x');
  await page.locator('button[type=submit]').click();
  await page.locator('input[name=prompt][value=consent]').waitFor({ state: 'attached' });
  await page.locator('button[type=submit]').click();
  await page.waitForURL(`${admin}/dashboard/**`);
  await page.locator('nav').first().waitFor();
  const told = await page.evaluate(async () => (await fetch('/api/v1/session')).json());
  assert.equal(told.user, `oidc ${user}`);
  assert.equal(told.via, 'session');
  const cookies = await page.context().cookies(admin);
  const session = cookies.find((cookie) => cookie.name === 'mainstay_session');
  assert.deepEqual([session.httpOnly, session.sameSite], [true, 'Strict']);
  assert.ok(!cookies.some((cookie) => cookie.name === 'mainstay_oidc'), 'what the login needed is gone');
}

const failed = await runAll({ 'signs in with the provider': signsIn });
await browser.close();
process.exit(failed === 0 ? 0 : 1);
