// What the admin interface answers, as far as the dashboard reads it. What may be absent there is optional here.

export interface Activity {
  rate: number;
  error_percent: number | null;
  p50_ms: number | null;
  p99_ms: number | null;
}

export interface Breaker {
  state: string;
  since_seconds?: number | null;
  reason: string;
  opened: number;
  refused: number;
}

export interface Endpoint {
  name: string;
  priority: number;
  weight: number;
  address: string | null;
  health: string;
  degraded: boolean;
  ejected: boolean;
  ejected_by?: string | null;
  draining: boolean;
  drained_by: string | null;
  eligible: boolean;
  weight_percent: number;
  weight_override?: number | null;
  zone?: string | null;
  spare: boolean;
  reason: string;
  since: string;
  since_seconds: number;
  in_flight: number;
  connections: number;
  activity: Activity;
  attempts: number;
  ejections: number;
  breaker?: Breaker;
  /** What it said of itself within the last minute. */
  load?: { cpu_percent?: number | null; memory_percent?: number | null } | null;
  /** The version of what operators said of it. */
  etag?: string;
}

export interface Zone {
  zone: string | null;
  endpoints: number;
  eligible: number;
  activity: Activity;
}

export type ServiceState = 'healthy' | 'degraded' | 'down';

export interface Source {
  name: string;
  endpoints: number;
  reason: string;
  answers: number;
  failures: number;
}

export interface Service {
  name: string;
  state: ServiceState;
  eligible: number;
  guarded?: boolean;
  warnings?: string[];
  endpoints: Endpoint[];
  sources?: Source[];
  empty_responses: number;
  budget_refusals: number;
  activity?: Activity;
  zones?: Zone[];
}

export interface Admission {
  limit?: number | null;
  adaptive: boolean;
  in_flight: number;
  waiting: number;
  queue: number;
  refused: number;
}

export interface Route {
  name: string;
  listeners: string[];
  service: string;
  activity: Activity;
  requests: number;
  responses_5xx: number;
  retries: number;
  own_errors: number;
  breaker?: Breaker;
  admission?: Admission;
}

export interface Listener {
  name: string;
  bind: string;
  protocol: string;
  connections: number;
  max_connections: number;
  accepted: number;
  tls_failures: number;
  rejected: number;
}

export interface Probe {
  name: string;
  state: 'unknown' | 'up' | 'degraded' | 'down';
  since_at?: string | null;
  failing: { node: string; reason: string }[];
  nodes: number;
  nodes_expected: number;
  last?: { node: string; at?: string | null; passed: boolean; duration_ms: number } | null;
}

/** What came of one journey. */
export interface ProbeRun {
  passed: boolean;
  duration_ms: number;
  steps: { name: string; duration_ms: number; failed?: string | null }[];
}

/** A certificate that an authority issues. */
export interface Acme {
  name: string;
  domains: string[];
  state: string;
  orderer: string | null;
  last_error: string | null;
  failures: number;
  next_order: string | null;
  next_why: string | null;
  /** Within which time its authority would have it renewed (RFC 9773). */
  suggested?: { start: string; end: string; explanation: string | null } | null;
}

/** A certificate in use. */
export interface Certificate {
  usage: string;
  file: string;
  subject: string;
  names: string[];
  not_before: string | null;
  not_after: string | null;
  days_left: number | null;
  problem: string | null;
  acme?: Acme | null;
}

/** What somebody has asked for in place of the configuration, for a time. */
export interface Temporary {
  what: string;
  of: string | null;
  is: string;
  configured: string;
  seconds_left: number;
  end: string;
}

export interface Status {
  node: {
    name: string;
    version: string;
    started_at: string;
    uptime_seconds: number;
    now: string;
    ready: boolean;
    not_ready: string[];
  };
  verdict: string;
  configuration: {
    file: string | null;
    generation: number;
    applied_at: string;
    last_reload: { outcome: 'none' | 'applied' | 'refused'; at: string | null; problems: string[] };
  };
  listeners: Listener[];
  routes: Route[];
  services: Service[];
  /** User journeys that are tried; absent if there are none. */
  probes?: Probe[];
  acme?: Acme[];
  temporary?: Temporary[];
  attention?: { defects?: { count: number; last: string } | null };
  cluster?: Cluster;
}

export interface Session {
  user: string;
  role: 'viewer' | 'operator' | 'admin' | null;
  via: string;
  services?: string[] | null;
  expires_at?: string | null;
  csrf?: string | null;
}

export interface Login {
  password?: boolean;
  oidc?: { name: string; url: string } | null;
}

export interface History {
  step_seconds: number;
  from: number;
  series: Record<string, (number | null)[] | undefined>;
  /** Whose numbers are in it, if it is of the whole cluster. */
  coverage?: Coverage;
}

/** Whose numbers are in a sum. */
export interface Coverage {
  nodes: string[];
  missing: { name: string; reason: string }[];
}

/** Nodes and services of a cluster on one page. */
export interface Together {
  /** Who has added it up. */
  node: string;
  span_seconds: number;
  coverage: Coverage;
  nodes: NodeOverview[];
  services: ServiceOverview[];
}

export interface NodeOverview {
  name: string;
  version: string;
  uptime_seconds: number;
  ready: boolean;
  verdict: string;
  rate: number;
  error_percent: number | null;
}

export interface ServiceOverview {
  name: string;
  rate: number;
  error_percent: number | null;
  p50_ms: number | null;
  p99_ms: number | null;
  seen: ServiceSeen[];
}

/** A service as a node finds it. */
export interface ServiceSeen {
  node: string;
  state: Service['state'];
  eligible: number;
  endpoints: number;
}

export interface Page<T> {
  items: T[];
  next?: string | null;
}

export interface Event {
  seq: number;
  time: string;
  node: string;
  subject: { kind: string; name: string; service?: string | null };
  change: string;
  from?: string | null;
  to?: string | null;
  cause?: string | null;
  text: string;
  level?: 'bad' | 'good' | 'note';
  part?: 'fault' | 'action' | 'recovery' | 'note';
}

export interface Member {
  id: number;
  name: string;
  address: string;
  role: string;
  state: string;
  reason?: string;
  lag?: number;
}

export interface NodeEntry {
  name: string;
  state: 'here' | 'up' | 'down' | 'unknown';
  answered_seconds?: number | null;
  reason?: string | null;
}

export interface Role {
  role: string;
  node: string | null;
  token?: number | null;
  seconds_left?: number | null;
}

export interface Cluster {
  engine: string;
  node: string;
  id: number;
  cluster?: string;
  failure?: string;
  quorum: boolean | null;
  quorum_seconds: number;
  quorum_reason?: string;
  leader: string | null;
  term: number;
  revision: number;
  certificate_seconds_left?: number;
  members: Member[];
  session?: { seconds_left: number } | null;
  roles?: Role[];
}

export interface Address {
  ip: string;
  interface: string | null;
  holder: string | null;
  token: number | null;
  belongs: string | null;
  here: boolean;
  candidates: string[];
  problem: string | null;
}

export interface GroupMember {
  node: string;
  address: string;
  here: boolean;
  role: string;
  state: string;
  position: number | null;
  position_text: string | null;
  lag_bytes: number | null;
  action: string | null;
  error: string | null;
  rungs: { name: string; missing: string | null }[];
}

/** A change of a group's primary. */
export interface DatabaseChange {
  at: string;
  from: string;
  to: string;
  term: number;
  planned: boolean;
  cause: string;
  rto_ms: number | null;
  parts: { name: string; ms: number | null }[];
  routed_by: string | null;
  loss: { measured: boolean; text: string };
}

export interface Database {
  name: string;
  engine: string;
  durability: string;
  state: 'good' | 'warning' | 'bad';
  verdict: string;
  next: string | null;
  primary: string | null;
  term: number;
  paused: boolean;
  acks: number;
  acks_of: string[];
  members: GroupMember[];
  promises: string[];
  differs: string[];
  write: string | null;
  read: string | null;
  failovers: DatabaseChange[];
}

export interface ConfigRelease {
  version: number;
  from: number;
  stage: { name: string; node?: string };
  said: string;
  elapsed_ms: number;
  nodes: number;
  voted: number;
  serving: number;
}

export interface ConfigOverview {
  node: string;
  serves: number;
  current: number | null;
  release: ConfigRelease | null;
  nodes: { node: string; serves: number | null; wanted: number | null; vote?: unknown; failure?: string }[];
  connected: boolean;
}

export interface ConfigVersion {
  version: number;
  author: string;
  written_unix_ms: number;
  note: string;
  sha256: string;
  bytes: number;
  outcome?: string;
}

export interface ConfigHistory {
  current: number | null;
  versions: ConfigVersion[];
}

export interface ConfigText {
  meta: ConfigVersion;
  text: string;
}

export interface Incident {
  id: string;
  title: string;
  cause: string;
  began_at: string;
  ended_at: string | null;
  duration_seconds: number;
  planned: boolean;
  services: string[];
  nodes: string[];
  level: 'down' | 'degraded' | 'note';
  unavailable_seconds?: number | null;
  actions?: string[];
  entries?: Event[];
  /** Entries that are not listed, because there are so many. */
  left_out?: number;
}

export interface Burn {
  severity: string;
  threshold: number;
  long_seconds: number;
  short_seconds: number;
  long: number | null;
  short: number | null;
  firing: boolean;
  why?: string | null;
}

export interface Objective {
  name: string;
  subject: { kind: string; name: string };
  indicator: string;
  threshold_ms?: number | null;
  target_percent: number;
  window_seconds: number;
  good_percent: number | null;
  events: number;
  bad: number;
  budget_left_percent: number | null;
  exhausted_in_seconds: number | null;
  coverage_percent?: number | null;
  burn: Burn[];
}

export interface Alert {
  id: string;
  name: string;
  severity: string;
  state: 'pending' | 'firing' | 'resolved';
  since_at: string;
  resolved_at?: string | null;
  summary: string;
  meaning?: string;
  labels: Record<string, string>;
  value?: number | null;
  silenced_by?: string | null;
  inhibited_by?: string | null;
  acknowledged?: { by: string; at: string; note: string } | null;
  runbook?: string | null;
  view?: string | null;
  notifications?: { receiver: string; at: string | null; outcome: string; detail?: string }[];
}

export interface Alerts extends Page<Alert> {
  evaluator?: string | null;
}

export interface Matcher {
  name: string;
  value: string;
  is_regex: boolean;
  is_equal: boolean;
}

export interface Silence {
  id: string;
  matchers: Matcher[];
  starts_at: string;
  ends_at: string;
  created_by: string;
  comment: string;
  state: string;
  etag?: string;
}

export interface Receiver {
  name: string;
  kind: string;
  waiting: number;
  failed: number;
  last_error?: string | null;
}

export interface RequestSummary {
  id: string;
  time: string;
  node?: string;
  method: string | null;
  host?: string | null;
  path: string | null;
  status: number;
  error?: string | null;
  duration_ms: number;
  route?: string | null;
  service?: string | null;
  endpoint?: string | null;
  attempts: number;
  trace_id?: string | null;
  sample_rate?: number;
}

export interface Attempt {
  endpoint: string;
  start_ms: number;
  duration_ms: number;
  outcome: string;
  status: number | null;
  reused: boolean;
  then: string;
  no_retry: string | null;
  backoff_ms: number | null;
}

export interface Considered {
  endpoint: string;
  state: string;
  reason: string;
  verdict: string;
  in_flight: number | null;
  weight_percent: number;
}

export interface Explained {
  id: string;
  time: string;
  duration_ms: number;
  generation: number;
  client: string;
  listener: string;
  method: string | null;
  host: string | null;
  path: string | null;
  admission: string;
  status: number;
  error: string | null;
  bytes_in: number;
  bytes_out: number;
  route: string | null;
  service: string | null;
  balance: string | null;
  fallback: string | null;
  cache: string | null;
  routes: { route: string; verdict: string }[];
  attempts: Attempt[];
  choices: { endpoints: Considered[]; left_out: number }[];
}

export interface AuditEntry {
  seq: number;
  time: string;
  node?: string;
  user: string;
  role?: string;
  from?: string;
  action: string;
  target?: string;
  outcome: string;
  status: number;
  body?: string;
}
