// What every page can reach: the node's status, who is asking, and the dialog in which actions are confirmed.

import { createContext } from 'preact';
import type { JSX } from 'preact';
import { useContext } from 'preact/hooks';
import type { Change } from './api/client';
import type { Polled } from './api/poll';
import type { Session, Status } from './api/model';

/** A value that is asked for before an action. */
export interface Field {
  name: string;
  label: string;
  kind: 'number' | 'text' | 'lines';
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
  /** The least role that may do it; operator unless said otherwise. */
  least?: 'operator' | 'admin';
  /** The service that it is about: some users may change some services only. */
  service?: string;
  /** What it would change, as far as that can be shown beforehand. */
  preview?: (values: Values) => JSX.Element;
  /** The command line that does the same. */
  command: (values: Values) => string;
  request: (values: Values) => Change;
  /** What its answer says, if that is what it is done for. */
  told?: (answer: unknown) => string;
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

/** Who asks, without the word that tells users from tokens. */
export function nameOf(session: Session): string {
  return session.user.replace(/^user /, '');
}

/** Why this reader cannot do that; null if it can, or if the node says nothing of that. */
export function refusalOf(session: Session | null, action: Pick<Action, 'least' | 'service'>): string | null {
  if (session === null) {
    return null;
  }
  if (session.role === 'viewer') {
    return session.via === 'loopback'
      ? 'Without users in the configuration ([access]) this page only shows. Run the command on the node instead.'
      : `${nameOf(session)} may look, not change anything.`;
  }
  if (action.least === 'admin' && session.role !== 'admin') {
    return `${nameOf(session)} is ${session.role ?? 'nobody'} here; this takes an admin.`;
  }
  const services = session.services ?? null;
  if (services !== null && (action.service === undefined || !services.includes(action.service))) {
    return `${nameOf(session)} may only change ${services.join(', ')}.`;
  }
  return null;
}
