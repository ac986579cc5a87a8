// The node's stream of events: what changes is asked for at once instead of at the next second.

import { API } from './client';
import type { Event } from './model';

type Listener = (event: Event | null) => void;

const listeners = new Set<Listener>();
const RETRY_MS = 15_000;
// A storm of events must not become a storm of questions.
const PAUSE_MS = 250;
let isQuiet = false;

/** Calls back after changes, at most four times a second; gives what ends that. */
export function onChange(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Tells everything on the page that something has changed, which it then asks for. */
export function announce(event: Event | null): void {
  if (isQuiet) {
    return;
  }
  isQuiet = true;
  window.setTimeout(() => {
    isQuiet = false;
    for (const listener of [...listeners]) {
      listener(event);
    }
  }, PAUSE_MS);
}

/** Listens to the node as long as the page lives. A node without a stream is polled alone. */
export function listen(): void {
  let source: EventSource | null = null;
  const open = (): void => {
    source = new EventSource(`${API}/events/stream`);
    source.addEventListener('transition', (message: MessageEvent<string>) => announce(parsed(message.data)));
    source.addEventListener('error', () => {
      // The browser tries again by itself unless the answer was no stream at all.
      if (source?.readyState === EventSource.CLOSED) {
        window.setTimeout(open, RETRY_MS);
      }
    });
  };
  open();
}

function parsed(text: string): Event | null {
  try {
    return JSON.parse(text) as Event;
  } catch {
    return null;
  }
}
