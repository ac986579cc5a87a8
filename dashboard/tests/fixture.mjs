// A node's answers, made up: everything that a page can show, with a service of a thousand endpoints.

const ENDPOINTS = 1000;

const since = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();
const activity = (rate, error, p50, p99) => ({ rate, error_percent: error, p50_ms: p50, p99_ms: p99 });

function endpoint(name, more = {}) {
  return {
    name, priority: 0, weight: 1, address: name, health: 'up', degraded: false, ejected: false, draining: false, drained_by: null,
    eligible: true, weight_percent: 100, spare: false, reason: '', since: since(4000), since_seconds: 4000, in_flight: 3,
    connections: 12, activity: activity(41.5, 0, 4.1, 22), attempts: 123456, ejections: 0, ...more,
  };
}

function checkout() {
  return [
    endpoint('10.0.1.10:8080', { zone: 'a', load: { cpu_percent: 41, memory_percent: null } }),
    endpoint('10.0.1.11:8080', {
      zone: 'a', health: 'down', eligible: false, reason: 'connect refused 3 times', since: since(95), since_seconds: 95,
      activity: activity(0, null, null, null), in_flight: 0,
    }),
    endpoint('10.0.2.10:8080', { zone: 'b', breaker: { state: 'half-open', since_seconds: 4, reason: '60 % of 20 calls failed', opened: 2, refused: 312 } }),
    endpoint('10.0.2.11:8080', { zone: 'b', ejected: true, eligible: false, ejections: 3, reason: '5 failures in a row' }),
  ];
}

function many() {
  return Array.from({ length: ENDPOINTS }, (_none, at) =>
    endpoint(`10.1.${Math.floor(at / 250)}.${at % 250}:9000`, {
      activity: activity(Math.round(at * 7919) % 97, at % 40 === 0 ? 1.25 : 0, 3 + (at % 9), 20 + (at % 61)),
      ...(at % 100 === 7 ? { health: 'down', eligible: false, reason: 'no answer within 1 s' } : {}),
    }),
  );
}

function service(name, state, endpoints, all, more = {}) {
  const zones = [...new Set(endpoints.map((it) => it.zone ?? null))].map((zone) => {
    const within = endpoints.filter((it) => (it.zone ?? null) === zone);
    return { zone, endpoints: within.length, eligible: within.filter((it) => it.eligible).length, activity: activity(all.rate / 2, all.error_percent, 4, 30) };
  });
  const eligible = endpoints.filter((it) => it.eligible).length;
  return { name, state, eligible, endpoints, zones, activity: all, empty_responses: 0, budget_refusals: 4, ...more };
}

function route(name, to, more = {}) {
  return { name, listeners: ['web'], service: to, activity: activity(83, 0.4, 5, 40), requests: 1e6, responses_5xx: 40, retries: 12, own_errors: 2, ...more };
}

function event(seq, ago, change, text, level, part) {
  return {
    seq, time: since(ago), node: 'lb1', subject: { kind: 'endpoint', service: 'checkout', name: '10.0.1.11:8080' }, change,
    from: 'up', to: 'down', cause: 'connect refused 3 times', text, level, ...(part ? { part } : {}),
  };
}

const EVENTS = [
  event(3, 30, 'breaker', 'checkout/10.0.2.10:8080: breaker half-open after 10 s', 'note', 'recovery'),
  event(2, 94.6, 'rotation', 'checkout/10.0.1.11:8080 taken out of rotation after 0.4 s', 'note', 'action'),
  event(1, 95, 'health', 'checkout/10.0.1.11:8080 is down: connect refused 3 times', 'bad', 'fault'),
];

function incident(id, open) {
  return {
    id, title: `checkout: 1 of 4 endpoints down (${id})`, cause: '10.0.1.11:8080: connect refused', began_at: since(95), ended_at: open ? null : since(20),
    duration_seconds: 75.4, planned: false, services: ['checkout'], nodes: ['lb1'], level: 'degraded', unavailable_seconds: 0,
    actions: ['taken out of rotation after 0.4 s'],
  };
}

function objective(name, left, fires) {
  const burn = (severity, threshold, long_seconds, short_seconds, long) => ({
    severity, threshold, long_seconds, short_seconds, long, short: long, firing: long > threshold, why: null,
  });
  return {
    name, subject: { kind: 'service', name: 'checkout' }, indicator: 'availability', threshold_ms: null, target_percent: 99.9,
    window_seconds: 2419200, good_percent: 99.9583, events: 1234567, bad: 515, budget_left_percent: left,
    exhausted_in_seconds: fires ? 96000 : null, coverage_percent: 71.2,
    burn: [burn('P1', 14.4, 3600, 300, fires ? 3.2 : 0), burn('P2', 6, 21600, 1800, fires ? 6.2 : 0.1), burn('P3', 3, 86400, 7200, 1.2), burn('P4', 1, 259200, 21600, 0.6)],
  };
}

const acme = (name, more = {}) => ({
  name, directory: 'https://ca.example/', challenge: 'http-01', domains: [`${name}.example`], state: 'valid', orderer: 'lb1',
  last_order: since(60), last_error: null, failures: 0, next_order: null, next_why: null, suggested: null, ...more,
});

function certificate(usage, subject, days_left, more = {}) {
  const until = days_left === null ? null : since(-days_left * 86_400);
  const not_before = days_left === null ? null : since((30 - days_left) * 86_400);
  const file = usage.startsWith('acme') ? '' : `/etc/mainstay/${subject}.pem`;
  return { usage, file, subject, issuer: 'ca', names: [subject], not_before, not_after: until, days_left, problem: null, acme: null, ...more };
}

function alerts() {
  const one = (id, name, severity, state, more = {}) => ({
    id, name, severity, state, since_at: since(95), resolved_at: state === 'resolved' ? since(10) : null, summary: `${name} of checkout`,
    labels: { service: 'checkout' }, value: 6.2, silenced_by: null, inhibited_by: null, acknowledged: null,
    runbook: 'docs/alerts/endpoint-down.md', view: '#/services/checkout',
    notifications: [{ receiver: 'pager', at: since(90), outcome: 'delivered', detail: '' }], ...more,
  });
  return [one('a1', 'BudgetBurnsFast', 'P2', 'firing'), one('a2', 'EndpointDown', 'P3', 'firing'), one('a3', 'NodeSlow', 'P4', 'resolved')];
}

const VERSIONS = [
  { version: 3, author: 'anna', written_unix_ms: Date.now() - 3.6e6, note: 'more weight', sha256: 'ab', bytes: 812, outcome: 'done' },
  { version: 2, author: 'ben', written_unix_ms: Date.now() - 9e7, note: '', sha256: 'cd', bytes: 790, outcome: 'done' },
];

export function texts(version) {
  return `[[service]]\nname = "checkout"\nweight = ${version}\nretries = 2\n${version === 3 ? 'timeout = "3 s"\n' : ''}`;
}

const request = (id, status, attempts) => ({
  id, time: since(12), node: 'lb1', method: 'GET', host: 'shop.example', path: `/cart/${id}`, status, error: status >= 500 ? 'no-endpoint' : null,
  duration_ms: 31.4, route: 'shop', service: 'checkout', endpoint: '10.0.1.10:8080', attempts, trace_id: null, sample_rate: 1,
});

export const EXPLAINED = {
  id: 'r1', time: since(12), duration_ms: 63.2, worker: 0, generation: 3, client: '10.0.9.4:5123', listener: 'web', method: 'GET',
  host: 'shop.example', path: '/cart', cut: false, admission: 'passed', status: 200, error: null, bytes_in: 0, bytes_out: 5120, route: 'shop',
  service: 'checkout', balance: 'least-loaded', mirror: null, fallback: null, cache: 'miss', routes: [{ route: 'shop', verdict: 'taken' }],
  attempts: [
    { endpoint: '10.0.1.11:8080', start_ms: 0.2, duration_ms: 12, outcome: 'connect-refused', status: null, reused: false, then: 'retry', no_retry: null, backoff_ms: 25 },
    { endpoint: '10.0.1.10:8080', start_ms: 37.4, duration_ms: 24.9, outcome: 'answered', status: 200, reused: true, then: 'end', no_retry: null, backoff_ms: null },
  ],
  choices: [{ endpoints: [{ endpoint: '10.0.1.10:8080', state: 'up', reason: '', verdict: 'more-loaded', in_flight: 4, weight_percent: 100 }, { endpoint: '10.0.1.11:8080', state: 'up', reason: '', verdict: 'chosen', in_flight: 0, weight_percent: 100 }], left_out: 0 }],
};

/** What changes while the mock runs. */
export function freshState() {
  return { services: [
    service('checkout', 'degraded', checkout(), activity(166, 0.42, 4.4, 41), { warnings: ['without zone a the rest could serve 80 requests a second of 120'] }),
    service('catalogue', 'healthy', many(), activity(48210, 0.03, 5.1, 61)),
    service('mail', 'down', [endpoint('10.0.3.1:25', { health: 'down', eligible: false, reason: 'no banner' })], activity(0, null, null, null)),
  ], alerts: alerts(), silences: [], audit: [] };
}

export function answers(state) {
  const page = (items) => ({ items, next: null });
  return {
    '/session': { user: 'anna', role: 'admin', via: 'session', services: null, expires_at: null, csrf: 'c5rf' },
    '/status': {
      node: { name: 'lb1', version: '0.1.0', pid: 1, started_at: since(90000), uptime_seconds: 90000, now: since(0), ready: true, not_ready: [] },
      verdict: 'PARTLY SERVING: 1 of 3 services healthy; down: mail (0 of 1 endpoints up); degraded: checkout (2 of 4 endpoints up)',
      configuration: { file: '/etc/mainstay/lb.toml', generation: 3, applied_at: since(3600), last_reload: { outcome: 'applied', at: since(3600), problems: [] } },
      listeners: [], services: state.services, cluster: { engine: 'embedded', node: 'lb1', id: 1, quorum: true, quorum_seconds: 5000, leader: 'lb1', term: 4, revision: 991, members: [] },
      probes: [
        { name: 'buy', state: 'down', since_at: since(40), failing: [{ node: 'lb2', reason: 'step 2 `pay`: status 502' }], nodes: 3, nodes_expected: 3, last: { node: 'lb2', at: since(4), passed: false, duration_ms: 412 } },
        { name: 'look', state: 'up', since_at: since(4000), failing: [], nodes: 3, nodes_expected: 3, last: { node: 'lb1', at: since(9), passed: true, duration_ms: 31 } },
      ],
      acme: [acme('shop', { state: 'missing', last_error: 'the order: connection refused', failures: 3, next_why: 'missing' }), acme('mail')],
      temporary: [{ what: 'log level', of: 'health', is: 'debug', configured: 'info', seconds_left: 540, end: 'mainstay log level health=reset' }],
      attention: { defects: { count: 1, last: 'crates/x/src/y.rs:7 (probes): meant for the test' } },
      routes: [
        route('shop', 'checkout', { breaker: { state: 'closed', since_seconds: null, reason: '', opened: 1, refused: 12 }, admission: { limit: 128, adaptive: true, in_flight: 17, waiting: 0, queue: 64, refused: 4 } }),
        route('list', 'catalogue'),
      ],
    },
    '/certificates': page([
      certificate('acme shop', 'shop.example', null, { problem: 'none was issued yet, and clients see a stand-in; the last order has failed: connection refused', acme: acme('shop', { state: 'missing', failures: 3, next_why: 'missing' }) }),
      certificate('listener admin', 'lb1.example', 9.3),
      certificate('cluster node', 'lb1', 12.1),
      certificate('acme mail', 'mail.example', 41.6, {
        acme: acme('mail', { next_order: '2031-05-02T04:10:00Z', next_why: 'suggested', suggested: { start: '2031-05-01T04:00:00Z', end: '2031-05-03T04:00:00Z', explanation: 'https://ca.example/why' } }),
      }),
    ]),
    '/overview': together(),
    '/nodes': [{ name: 'lb1', state: 'here', answered_seconds: 0 }, { name: 'lb2', state: 'up', answered_seconds: 0.4 }, { name: 'lb3', state: 'down', answered_seconds: null, reason: 'connection refused' }],
    '/events': page(EVENTS),
    '/incidents': page([incident('42', true), incident('41', false)]),
    '/incidents/42': { ...incident('42', true), entries: [...EVENTS].reverse() },
    '/objectives': page([objective('checkout-availability', 41.7, true), { ...objective('checkout-latency', 88, false), indicator: 'latency', threshold_ms: 250 }, { ...objective('orders-fast', 93, false), subject: { kind: 'database', name: 'orders' }, indicator: 'latency', threshold_ms: 50 }]),
    '/alerts': { ...page(state.alerts), evaluator: 'lb1' },
    '/silences': page(state.silences),
    '/receivers': page([{ name: 'pager', kind: 'pagerduty', waiting: 0, failed: 1, last_error: '503' }]),
    '/cluster': {
      engine: 'embedded', node: 'lb1', id: 1, cluster: 'c1', quorum: true, quorum_seconds: 5000, leader: 'lb1', term: 4, revision: 991,
      certificate_seconds_left: 2.5e6, session: { seconds_left: 7.2 }, roles: [{ role: 'config', node: 'lb1', token: 12, seconds_left: 7.2 }, { role: 'alerts', node: null }],
      members: [
        { id: 1, name: 'lb1', address: '10.0.0.1:7946', role: 'leader', state: 'here' },
        { id: 2, name: 'lb2', address: '10.0.0.2:7946', role: 'voter', state: 'up', lag: 0 },
        { id: 3, name: 'lb3', address: '10.0.0.3:7946', role: 'voter', state: 'down', reason: 'connection refused', lag: 210 },
      ],
    },
    '/addresses': [{ ip: '10.0.0.100', interface: 'eth0', holder: 'lb1', token: 9, belongs: 'lb1', here: true, candidates: ['lb1', 'lb2'], problem: null }],
    '/databases': [DATABASE],
    '/config': { node: 'lb1', serves: 3, current: 3, release: { version: 3, stage: { name: 'done' }, from: 2, said: 'done', elapsed_ms: 61000, nodes: 3, voted: 3, serving: 3 }, nodes: [{ node: 'lb1', serves: 3, wanted: 3, vote: 'Accept' }, { node: 'lb2', serves: 3, wanted: 3, vote: { Veto: ['no certificate'] } }], connected: true },
    '/config/versions': { current: 3, versions: VERSIONS },
    '/requests': page([request('r1', 200, 2), request('r2', 503, 3)]),
    '/audit': page(state.audit),
    '/audit/verify': { intact: true, entries: 120, problem: null },
  };
}

/** Two of three nodes added up, which differ about a service. */
function together() {
  const node = (name, more) => ({ name, version: '0.1.0', uptime_seconds: 90000, ready: true, verdict: 'serving: 3 of 3 services healthy', rate: 24000, error_percent: 0.02, ...more });
  const service = (name, states) => ({ name, rate: 332, error_percent: 0.4, p50_ms: 4.4, p99_ms: 41, seen: states.map((state, at) => ({ node: `lb${at + 1}`, state, eligible: state === 'down' ? 0 : 2, endpoints: 2 })) });
  return {
    node: 'lb1', span_seconds: 10, coverage: { nodes: ['lb1', 'lb2'], missing: [{ name: 'lb3', reason: 'connection refused' }] },
    nodes: [node('lb1'), node('lb2', { verdict: 'PARTLY SERVING: 2 of 3 services healthy; down: checkout (0 of 2 endpoints up)' })],
    services: [service('catalogue', ['healthy', 'healthy']), service('checkout', ['healthy', 'down'])],
  };
}

const member = (node, role, state, more = {}) => ({
  node, address: `10.0.1.${node.slice(-1)}:5432`, here: node === 'lb1', role, state, position: 50331744, position_text: '0/3000060', lag_bytes: null, action: null, error: null,
  rungs: [{ name: 'agent', missing: null }, { name: 'guard', missing: null }, { name: 'watchdog', missing: 'none is configured' }], ...more,
});
const DATABASE = {
  name: 'orders', engine: 'postgres', durability: 'sync-preferred', state: 'warning', verdict: 'lb1 takes writes, 1 of 2 replicas follow', next: 'lb3: the disk is full',
  primary: 'lb1', term: 7, paused: false, acks: 1, acks_of: ['lb2'], write: '0.0.0.0:5000', read: null, differs: ['`lag_max` is 2MiB on lb3, and 1MiB here'],
  promises: ['Each acknowledged write is on the primary and on lb2: no failover loses any of them by itself.'],
  members: [member('lb1', 'primary', 'running'), member('lb2', 'replica', 'streaming', { lag_bytes: 96 }), member('lb3', 'none', 'stopped', { error: 'the disk is full', position: null, position_text: null, rungs: [] })],
  failovers: [{ at: new Date(Date.now() - 3.6e6).toISOString(), from: 'lb2', to: 'lb1', term: 7, planned: false, cause: 'its node was gone', rto_ms: 3300, parts: [{ name: 'lease', ms: 2800 }, { name: 'promote', ms: 500 }, { name: 'route', ms: null }], routed_by: null, risk: null, loss: { measured: true, text: '8.4 KiB of the old primary\'s log were thrown away' } }],
};

export function history(span, step) {
  const points = Math.floor(span / step);
  const wave = (base, width) => Array.from({ length: points }, (_none, at) => base + width * Math.sin(at / 20));
  return {
    step_seconds: step, from: Math.floor(Date.now() / 1000) - span,
    series: { rate: wave(160, 20), error_percent: wave(0.4, 0.3), p50_ms: wave(4, 1), p90_ms: wave(18, 4), p99_ms: wave(40, 12), budget_left_percent: wave(60, 20) },
  };
}
