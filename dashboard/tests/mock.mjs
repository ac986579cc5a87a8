// A node that does not exist: serves the built dashboard and made-up answers, takes changes and remembers them.

import { createServer } from 'node:http';
import { existsSync, readFileSync } from 'node:fs';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { answers, EXPLAINED, freshState, history, texts } from './fixture.mjs';

const DIST = fileURLToPath(new URL('../dist/', import.meta.url));
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css' };
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/** Starts the mock; `needsLogin` until somebody logs in, `silent` makes it answer nothing, `missing` are paths it does not have. */
export async function startMock({ needsLogin = false, port = 0 } = {}) {
  const mock = { changes: [], asked: [], state: freshState(), needsLogin, silent: false, missing: new Set(), url: '', close: () => undefined };
  const server = createServer((request, response) => {
    if (mock.silent) {
      request.socket.destroy();
      return;
    }
    let text = '';
    request.on('data', (part) => (text += part));
    request.on('end', () => answer(mock, request, text, response));
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  mock.url = `http://127.0.0.1:${server.address().port}`;
  mock.close = () => server.closeAllConnections() ?? server.close();
  return mock;
}

function answer(mock, request, text, response) {
  const url = new URL(request.url, mock.url);
  if (url.pathname.startsWith('/api/v1/')) {
    const [status, body] = ask(mock, request, url, text);
    response.writeHead(status, { 'content-type': status < 400 ? 'application/json' : 'application/problem+json', 'cache-control': 'no-store' });
    response.end(body === null ? '' : JSON.stringify(body));
    return;
  }
  const name = normalize(url.pathname.replace(/^\/dashboard\/?/, '')) || 'index.html';
  const file = join(DIST, name === '.' ? 'index.html' : name);
  const found = file.startsWith(DIST) && existsSync(file);
  response.writeHead(found ? 200 : 404, { 'content-type': TYPES[extname(file)] ?? 'text/plain', 'content-security-policy': POLICY });
  response.end(found ? readFileSync(file) : 'nothing here');
}

const problem = (status, detail, more = {}) => [status, { type: 'about:blank', title: 'Problem', status, detail, hint: 'try something else', ...more }];

function ask(mock, request, url, text) {
  const path = url.pathname.slice('/api/v1'.length);
  const body = text === '' ? null : JSON.parse(text);
  if (path === '/session' && request.method === 'POST') {
    const isRight = (body.user === 'anna' && body.password === 'secret');
    mock.needsLogin = mock.needsLogin && !isRight;
    return isRight ? [200, answers(mock.state)['/session']] : problem(401, 'there is no such user, or the password is another one', { login: { password: true } });
  }
  if (path === '/session' && request.method === 'DELETE') {
    mock.needsLogin = true;
    return [204, null];
  }
  if (mock.needsLogin) {
    return problem(401, 'who is asking?', { login: { password: true, oidc: { name: 'Keycloak', url: '/api/v1/session/oidc' } } });
  }
  const other = /^\/nodes\/([^/]+)(\/.*)$/.exec(path);
  if (other) {
    return askOther(mock, request, url, text, other[1], other[2]);
  }
  if (mock.missing.has(path)) {
    return problem(404, `nothing at ${path}`);
  }
  return request.method === 'GET' ? look(mock, path, url.searchParams) : change(mock, request, path, body);
}

/** What another node answers: the same as this one, by its own name. */
function askOther(mock, request, url, text, name, path) {
  if (name === 'lb3') {
    return problem(502, 'node lb3 cannot be reached: connection refused');
  }
  const [status, body] = ask(mock, request, new URL(`/api/v1${path}${url.search}`, mock.url), text);
  mock.asked.push(`${name} ${path}`);
  return [status, path === '/status' ? { ...body, node: { ...body.node, name } } : body];
}

function look(mock, path, query) {
  if (path === '/history' || /^\/objectives\/[^/]+\/history$/.test(path)) {
    return [200, history(Number(query.get('span') ?? 600), Number(query.get('step') ?? 1))];
  }
  const version = /^\/config\/versions\/(\d+)$/.exec(path);
  if (version) {
    return [200, { meta: { version: Number(version[1]) }, text: texts(Number(version[1])) }];
  }
  if (path.startsWith('/requests/')) {
    return path.endsWith('/r1') ? [200, { requests: [EXPLAINED] }] : problem(404, 'no request with this id is remembered');
  }
  const known = answers(mock.state)[path];
  return known === undefined ? problem(404, `nothing at ${path}`) : [200, known];
}

function change(mock, request, path, body) {
  mock.changes.push({ method: request.method, path, body, csrf: request.headers['x-mainstay-csrf'] ?? null });
  const endpoint = mock.state.services.find((it) => it.name === body?.service)?.endpoints.find((it) => it.name === body?.endpoint);
  if (path === '/drain') {
    Object.assign(endpoint, { draining: body.drain, drained_by: body.drain ? 'operator' : null, eligible: !body.drain });
  }
  if (path === '/weight') {
    endpoint.weight = body.weight ?? 1;
  }
  if (path === '/silences') {
    mock.state.silences.push({ id: 's1', matchers: body.matchers, starts_at: new Date().toISOString(), ends_at: new Date(Date.now() + body.seconds * 1000).toISOString(), created_by: 'anna', comment: body.comment, state: 'active' });
  }
  const journey = /^\/probes\/([^/]+)\/run$/.test(path);
  if (path === '/alerts/a1/acknowledge') {
    mock.state.alerts[0].acknowledged = { by: 'anna', at: new Date().toISOString(), note: body.note };
  }
  mock.state.audit.unshift({ seq: mock.changes.length, time: new Date().toISOString(), node: 'lb1', user: 'anna', role: 'operator', from: '127.0.0.1', action: `${request.method} ${path}`, target: body?.endpoint ?? '', outcome: 'done', status: 200, body: JSON.stringify(body) });
  return [200, journey ? { node: 'lb1', at: null, passed: false, duration_ms: 412, steps: [{ name: 'look', duration_ms: 12, failed: null }, { name: 'pay', duration_ms: 400, failed: 'status 502' }] } : {}];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const mock = await startMock({ port: 7999 });
  console.log(`${mock.url}/dashboard/`);
}
