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

export type Method = 'GET' | 'POST' | 'DELETE';

/** Asks, and gives the answer's JSON; throws a `Problem` otherwise. */
export async function ask<T>(path: string, method: Method = 'GET', body?: unknown): Promise<T> {
  const response = await send(path, method, body);
  const text = await response.text().catch(() => '');
  if (!response.ok) {
    const problem = problemOf(response.status, text);
    if (problem.status === 401 && !path.startsWith('/session')) {
      onUnauthorized(problem);
    }
    throw problem;
  }
  try {
    return (text === '' ? null : JSON.parse(firstDocument(text, response))) as T;
  } catch {
    throw new Problem(response.status, `the answer of ${path} is not JSON`);
  }
}

async function send(path: string, method: Method, body: unknown): Promise<Response> {
  const headers: Record<string, string> = { accept: 'application/json' };
  if (body !== undefined) {
    headers['content-type'] = 'application/json';
  }
  if (method !== 'GET' && csrf !== null) {
    headers['x-mainstay-csrf'] = csrf;
  }
  const init: RequestInit = { method, headers, credentials: 'same-origin', signal: AbortSignal.timeout(TIMEOUT_MS) };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
  }
  try {
    return await fetch(API + path, init);
  } catch (error) {
    const isSlow = error instanceof DOMException && error.name === 'TimeoutError';
    throw new Problem(0, isSlow ? `no answer within ${TIMEOUT_MS / 1000} s` : 'the node cannot be reached');
  }
}

// A release of a configuration is told event by event, a line each; the first one says whether it was taken.
function firstDocument(text: string, response: Response): string {
  const isLines = response.headers.get('content-type')?.includes('ndjson') ?? false;
  return isLines ? (text.split('\n', 1)[0] ?? '') : text;
}

/** What an answer that is no success says. */
export function problemOf(status: number, text: string): Problem {
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
  return new Problem(status, message, words('hint'), login);
}
