// A real browser without a screen, which notes whatever a page must not do.

import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const PLACES = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const SHOTS = process.env.SCREENSHOTS ?? fileURLToPath(new URL('../../target/dashboard/', import.meta.url));

/** The browser; ends the test with what to install if there is none. */
export async function openBrowser() {
  const executablePath = PLACES.find((path) => path && existsSync(path));
  if (executablePath === undefined) {
    console.error('error: chromium is missing\n  hint: apt-get install chromium, or set CHROMIUM to its path');
    process.exit(2);
  }
  return chromium.launch({ executablePath, headless: true, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] });
}

/** A page that remembers its sins: errors, requests to other hosts, violations of the policy. */
export async function openPage(browser, base, { width = 1280, height = 800, dark = false } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? 'dark' : 'light', timezoneId: 'UTC', locale: 'en-GB' });
  const page = await context.newPage();
  const sins = [];
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  page.on('pageerror', (error) => sins.push(`error: ${error.message}`));
  page.on('console', (message) => {
    // What a node does not have is a page that says so; the browser notes each such answer by itself.
    const isAnswer = message.text().startsWith('Failed to load resource');
    if (message.type() === 'error' && !isAnswer) {
      sins.push(`console: ${message.text()}`);
    }
  });
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.protocol !== 'data:' && url.origin !== new URL(base).origin) {
      sins.push(`request to ${url.origin}`);
    }
  });
  page.setDefaultTimeout(30_000);
  return { page, sins, close: () => context.close() };
}

/** Keeps what the page looks like. */
export async function shoot(page, name) {
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: join(SHOTS, `${name}.png`) });
}

/** Whether anything reaches beyond the right edge of the screen. */
export async function overflow(page) {
  return page.evaluate(() => {
    const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    const inside = [...document.querySelectorAll('main *')].filter((it) => it.getBoundingClientRect().right > innerWidth + 1);
    const outermost = inside.filter((it) => getComputedStyle(it.parentElement).overflowX === 'visible' && !it.closest('.diff, td'));
    return wide > 0 ? `${wide} px: ${outermost.slice(0, 3).map((it) => it.outerHTML.slice(0, 90)).join(' | ')}` : '';
  });
}

/** Waits until a condition holds, and fails with its name otherwise. */
export async function until(what, condition, limitMs = 15_000) {
  const end = Date.now() + limitMs;
  while (!(await condition())) {
    if (Date.now() > end) {
      throw new Error(`${what}: not within ${limitMs} ms`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Runs named checks one after another; all of them, so that one run tells all. */
export async function runAll(checks) {
  let failed = 0;
  for (const [name, check] of Object.entries(checks)) {
    const begin = Date.now();
    try {
      await check();
      console.log(`ok   ${name} (${Date.now() - begin} ms)`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL ${name}: ${error.stack ?? error}`);
    }
  }
  return failed;
}
