// Asks the node that serves this page, and nobody else.

import type { Login } from './model';

export const API = '/api/v1';
// A node that does not answer within this is as good as gone, and the page has to say so.
const TIMEOUT_MS = 5000;

/** A question that got no useful answer, in the node's own words where it had any. */
export class Problem extends Error {
  constructor(
    /** The HTTP status; 0 if the node did not answer at all. */
    readonly status: number,
    message: string,
    readonly hint: string | null = null,
    readonly login: Login | null = null,
    /** How long the node wants to be left alone; null if it does not say. */
    readonly retryAfterSeconds: number | null = null,
  ) {
    super(message);
  }

  /** The node's version or configuration has no such thing. */
  get isMissing(): boolean {
    return this.status === 404;
  }
}

let csrf: string | null = null;
let onUnauthorized: (problem: Problem) => void = () => undefined;

/** What a change has to carry to show that it comes from this page. */
export function rememberCsrf(token: string | null): void {
  csrf = token;
}

/** Called whenever the node wants to know who asks. */
export function whenUnauthorized(listener: (problem: Problem) => void): void {
  onUnauthorized = listener;
}

const ASKED = 'mainstay-node';
let asked: string | null = sessionStorageOf()?.getItem(ASKED) ?? null;

// A browser may forbid it, and what only computes is tested without one.
function sessionStorageOf(): Storage | null {
  try {
    return globalThis.sessionStorage ?? null;
  } catch {
    return null;
  }
}

/** The node of the cluster that is asked through the one that serves this page; null: that one itself. */
export function askedNode(): string | null {
  return asked;
}

/** Asks another node from now on. What was known of the one before has to be forgotten by whoever calls this. */
export function askNode(name: string | null): void {
  asked = name;
  if (name === null) {
    sessionStorageOf()?.removeItem(ASKED);
  } else {
    sessionStorageOf()?.setItem(ASKED, name);
  }
}

// Who asks and which nodes there are is known here; a release is told step by step, which is not passed on, and any node does.
function addressOf(path: string, method: Method): string {
  const isOwn = path === '/session' || path === '/nodes' || path.startsWith('/nodes/') || (method !== 'GET' && path.startsWith('/config'));
  return API + (asked === null || isOwn ? path : `/nodes/${encodeURIComponent(asked)}${path}`);
}

export type Method = 'GET' | 'POST' | 'DELETE';

/** What a change that takes a while says of each of its steps. */
export type Step = (said: string) => void;

/** A change, and which version of what it changes somebody has seen: the node refuses it if there is another one by now. */
export interface Change {
  path: string;
  method: Method;
  body?: unknown;
  version?: string | undefined;
  /** How long its answer may take, if that is longer than any answer should. */
  patienceMs?: number;
}

/** Asks, and gives the answer's JSON; throws a `Problem` otherwise. */
export function ask<T>(path: string, method: Method = 'GET', body?: unknown): Promise<T> {
  return carryOut({ path, method, body });
}

/** As `ask`. Of an answer in steps `onStep` hears each one. */
export async function carryOut<T>(change: Change, onStep: Step = () => undefined): Promise<T> {
  const { path } = change;
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), change.patienceMs ?? TIMEOUT_MS);
  try {
    const response = await send(change, patience.signal);
    if (response.ok && (response.headers.get('content-type')?.includes('ndjson') ?? false)) {
      // A release takes as long as it bakes; each of its lines is a sign of life.
      clearTimeout(timer);
      return (await followed(response, onStep)) as T;
    }
    return await whole<T>(path, response);
  } finally {
    clearTimeout(timer);
  }
}

async function whole<T>(path: string, response: Response): Promise<T> {
  const text = await response.text().catch(() => '');
  if (!response.ok) {
    const problem = problemOf(response.status, text, response.headers.get('retry-after'));
    if (response.status === 401 && path !== '/session') {
      onUnauthorized(problem);
    }
    throw problem;
  }
  try {
    return (text === '' ? null : JSON.parse(text)) as T;
  } catch {
    throw new Problem(response.status, `the answer of ${path} is not JSON`);
  }
}

async function send({ path, method, body, version, patienceMs }: Change, signal: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = { accept: 'application/json' };
  if (body !== undefined) {
    headers['content-type'] = 'application/json';
  }
  if (method !== 'GET' && csrf !== null) {
    headers['x-mainstay-csrf'] = csrf;
  }
  if (version !== undefined) {
    headers['if-match'] = version;
  }
  const init: RequestInit = { method, headers, credentials: 'same-origin', signal };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
  }
  try {
    return await fetch(addressOf(path, method), init);
  } catch {
    throw new Problem(0, signal.aborted ? `no answer within ${(patienceMs ?? TIMEOUT_MS) / 1000} s` : 'the node cannot be reached');
  }
}

/** Reads an answer line by line to its end, which says whether what was asked for came about. */
async function followed(response: Response, onStep: Step): Promise<unknown> {
  let last: unknown = null;
  for await (const line of linesOf(response)) {
    const step = stepOf(line);
    onStep(step.said);
    if (step.isFailure) {
      throw new Problem(response.status, step.said, step.hint);
    }
    last = step.document;
  }
  return last;
}

async function* linesOf(response: Response): AsyncGenerator<string> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    // A connection that breaks is the end of what is told, not of what was begun.
    const part = await reader?.read().catch(() => null);
    const lines = (rest + (part?.value ?? '')).split('\n');
    rest = lines.pop() ?? '';
    yield* lines.filter((line) => line.trim() !== '');
    if (!part || part.done) {
      return;
    }
  }
}

export interface ReleaseStep {
  said: string;
  isFailure: boolean;
  hint: string | null;
  document: unknown;
}

/** One line of a release in words. */
export function stepOf(line: string): ReleaseStep {
  let document: Record<string, unknown> = {};
  try {
    document = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return { said: line, isFailure: false, hint: null, document: null };
  }
  const { event, version, said, error, hint, stage, voted, serving, nodes } = document;
  const words = (value: unknown): string | null => (typeof value === 'string' ? value : null);
  if (event === 'failed') {
    return { said: words(error) ?? 'it failed', isFailure: true, hint: words(hint), document };
  }
  if (event === 'proposed') {
    return { said: `version ${version}: written down`, isFailure: false, hint: null, document };
  }
  const isDone = typeof stage === 'object' && stage !== null && (stage as { name?: unknown }).name === 'done';
  const counts = `${voted} of ${nodes} nodes have voted, ${serving} serve it`;
  return { said: `version ${version}: ${words(said) ?? ''} (${counts})`, isFailure: event === 'ended' && !isDone, hint: null, document };
}

/** What an answer that is no success says. */
export function problemOf(status: number, text: string, retryAfter: string | null = null): Problem {
  let said: Record<string, unknown> = {};
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed === 'object' && parsed !== null) {
      said = parsed as Record<string, unknown>;
    }
  } catch {
    // Whatever stands between the node and this page may answer with a page of its own.
  }
  const words = (key: string): string | null => (typeof said[key] === 'string' ? (said[key] as string) : null);
  const message = words('detail') ?? words('error') ?? words('title') ?? `the node answered ${status}`;
  const login = typeof said.login === 'object' ? (said.login as Login | null) : null;
  const wait = Number(retryAfter ?? Number.NaN);
  return new Problem(status, message, words('hint'), login, Number.isFinite(wait) ? wait : null);
}
