// Keeps an answer of the node fresh while a page shows it.

import { useEffect, useState } from 'preact/hooks';
import { ask, Problem } from './client';
import { onChange } from './live';

export interface Polled<T> {
  /** The last good answer, which stays when later questions fail. */
  value: T | null;
  /** When that came, in milliseconds of `performance.now()`. */
  at: number | null;
  /** Why the last question failed; null if it did not. */
  problem: Problem | null;
}

export const POLL_MS = 1000;
// What this version of the node does not have may come with an upgrade, but not within seconds.
const MISSING_MS = 30_000;
const FAILED_MS = 2000;

/** Asks again and again for `path`; null asks for nothing. A change that the node announces is asked for at once. */
export function usePolled<T>(path: string | null, everyMs: number = POLL_MS): Polled<T> {
  const [polled, setPolled] = useState<Polled<T>>({ value: null, at: null, problem: null });
  useEffect(() => {
    setPolled({ value: null, at: null, problem: null });
    if (path === null) {
      return undefined;
    }
    return keepAsking<T>(path, everyMs, setPolled);
  }, [path, everyMs]);
  return polled;
}

function keepAsking<T>(path: string, everyMs: number, set: (next: (old: Polled<T>) => Polled<T>) => void): () => void {
  let isOver = false;
  let isAsking = false;
  let timer = 0;
  const later = (ms: number): void => {
    clearTimeout(timer);
    timer = window.setTimeout(() => void look(), ms);
  };
  const look = async (): Promise<void> => {
    // One question at a time: a slow node must not be asked more than it answers. A hidden page asks nothing.
    if (isOver || isAsking || document.hidden) {
      return;
    }
    isAsking = true;
    let next = everyMs;
    try {
      const value = await ask<T>(path);
      if (!isOver) {
        set(() => ({ value, at: performance.now(), problem: null }));
      }
    } catch (error) {
      const problem = error instanceof Problem ? error : new Problem(0, String(error));
      next = problem.isMissing ? MISSING_MS : Math.max(everyMs, FAILED_MS);
      if (!isOver) {
        set((old) => ({ ...old, problem }));
      }
    }
    isAsking = false;
    if (!isOver) {
      later(next);
    }
  };
  const wake = (): void => later(0);
  const stopListening = onChange(wake);
  document.addEventListener('visibilitychange', wake);
  void look();
  return () => {
    isOver = true;
    clearTimeout(timer);
    stopListening();
    document.removeEventListener('visibilitychange', wake);
  };
}
