// What every page can reach: the node's status, who is asking, and the dialog in which actions are confirmed.

import { createContext } from 'preact';
import { useContext } from 'preact/hooks';
import type { Method } from './api/client';
import type { Polled } from './api/poll';
import type { Session, Status } from './api/model';

/** A value that is asked for before an action. */
export interface Field {
  name: string;
  label: string;
  kind: 'number' | 'text';
  initial: string;
  min?: number;
  max?: number;
  /** It may stay empty. */
  optional?: boolean;
}

export type Values = Record<string, string>;

/** Something that changes the node or the cluster, as it is shown before it is done. */
export interface Action {
  title: string;
  /** What will happen, in a sentence or two. */
  effect: string;
  /** The harm that it does, if it does any; it has to be acknowledged. */
  harm?: string | null;
  fields?: Field[];
  /** The command line that does the same. */
  command: (values: Values) => string;
  request: (values: Values) => { path: string; method: Method; body?: unknown };
}

export interface Shell {
  status: Polled<Status>;
  /** Null if the node does not say who is asking. */
  session: Session | null;
  propose: (action: Action) => void;
}

export const ShellContext = createContext<Shell | null>(null);

export function useShell(): Shell {
  const shell = useContext(ShellContext);
  if (shell === null) {
    throw new Error('a part of the page was drawn outside of it');
  }
  return shell;
}

/** Why this reader cannot change anything; null if it can, or if the node says nothing of that. */
export function refusalOf(session: Session | null): string | null {
  if (session === null || session.role !== 'viewer') {
    return null;
  }
  return session.via === 'loopback'
    ? 'Without users in the configuration ([access]) this page only shows. Run the command on the node instead.'
    : `${session.user} may look, not change anything.`;
}
