// The command lines that do what the page's buttons do.

import { askedNode } from './api/client';

/** A word as a shell reads it back. */
export function quoted(word: string): string {
  return /^[A-Za-z0-9_.,:/@%+=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

// What is asked of another node is asked of it through this one by the command, too; a release concerns all nodes.
function line(...words: (string | null)[]): string {
  const node = words[0] === 'config' ? null : askedNode();
  return here(...words, ...(node === null ? [] : ['--node', node]));
}

function here(...words: (string | null)[]): string {
  return ['mainstay', ...words.filter((word): word is string => word !== null).map(quoted)].join(' ');
}

export function drain(service: string, endpoint: string, isUndone: boolean): string {
  return line('drain', `${service}/${endpoint}`, isUndone ? '--undo' : null);
}

/** `weight` null: as configured. */
export function weight(service: string, endpoint: string, value: number | null): string {
  return line('weight', `${service}/${endpoint}`, value === null ? '--undo' : String(value));
}

export function eject(service: string, endpoint: string, seconds: number): string {
  return line('eject', `${service}/${endpoint}`, '--for', `${seconds}s`);
}

export function reset(service: string, endpoint: string): string {
  return line('reset', `${service}/${endpoint}`);
}

export function moveAddress(ip: string, node: string): string {
  return line('address', 'move', ip, node);
}

export function database(action: string, name: string, node: string | null): string {
  return line('database', action, name, ...(node === null ? [] : ['--to', node]), '--yes');
}

export function rollBack(version: number, bakeSeconds: number): string {
  return line('config', 'rollback', String(version), ...(bakeSeconds === 0 ? ['--now'] : ['--bake', `${bakeSeconds}s`]));
}

/** `current`: the version that it builds on, null if there is none. `canary` empty: the planner chooses. */
export function release(file: string, current: number | null, bakeSeconds: number, canary: string, note: string): string {
  const given = (name: string, value: string): (string | null)[] => (value === '' ? [null] : [name, value]);
  const way = bakeSeconds === 0 ? ['--now'] : ['--bake', `${bakeSeconds}s`, ...given('--canary', canary)];
  return line('config', 'apply', file, '--builds-on', String(current ?? 0), ...way, ...given('--note', note));
}

export function abortRelease(): string {
  return line('config', 'abort');
}

/** `leavesTwo`: two voters are left, which is asked for by itself. */
export function removeNode(name: string, leavesTwo: boolean): string {
  return line('cluster', 'remove', name, leavesTwo ? '--two' : null);
}

export function acknowledge(id: string, note: string): string {
  return line('alerts', 'acknowledge', id, note === '' ? null : '--note', note === '' ? null : note);
}

export function silence(matchers: Record<string, string>, minutes: number, comment: string): string {
  const pairs = Object.entries(matchers).map(([name, value]) => `${name}=${value}`);
  return line('silence', 'add', ...pairs, '--for', `${minutes}m`, '--comment', comment);
}

export function expireSilence(id: string): string {
  return line('silence', 'remove', id);
}

export function runProbe(name: string): string {
  return line('probe', 'run', name);
}

export function explain(id: string): string {
  return line('explain', id);
}
