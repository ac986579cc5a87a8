// Which node answers, how old its data is, and the ways to the pages.

import type { JSX } from 'preact';
import { ask, askedNode } from './api/client';
import type { NodeEntry } from './api/model';
import { usePolled } from './api/poll';
import { seconds } from './format';
import { Age } from './parts/age';
import { hrefTo, PAGES, type Place } from './place';
import { nameOf, useShell } from './shell';
import { switchTheme } from './theme';

interface Props {
  place: Place;
  onHelp: () => void;
  onLogout: () => void;
  onNode: (name: string | null) => void;
}

export function Header(props: Props): JSX.Element {
  const { status, session } = useShell();
  const node = status.value?.node;
  const logout = (): void => {
    void ask('/session', 'DELETE').catch(() => undefined).then(props.onLogout);
  };
  return (
    <header>
      <div class="top">
        <span class="brand">Mainstay</span>
        <span class="node">
          <Nodes onNode={props.onNode} shown={node?.name ?? null} />{' '}
          {node && (
            <span class="quiet hide-phone">
              {node.version}, up {seconds(node.uptime_seconds)}
            </span>
          )}
        </span>
        <Age polled={status} />
        <span class="spring" />
        {session !== null && (
          <span class="quiet hide-phone" title={`via ${session.via}${session.services ? `, may change ${session.services.join(', ')}` : ''}`}>
            {nameOf(session)} ({session.role ?? 'nobody'})
          </span>
        )}
        {session?.via === 'session' && (
          <button type="button" class="plain" onClick={logout}>
            Log out
          </button>
        )}
        <button type="button" class="plain" onClick={switchTheme} aria-label="Light, dark or as the system (t)" title="Theme (t)">
          ◐
        </button>
        <button type="button" class="plain hide-phone" onClick={props.onHelp} aria-label="Keys (?)" title="Keys (?)">
          ?
        </button>
      </div>
      <nav aria-label="Pages">
        {PAGES.map((page) => (
          <a key={page.id} href={hrefTo(page.id)} {...(page.id === props.place.page ? { 'aria-current': 'page' as const } : {})}>
            {page.title}
          </a>
        ))}
      </nav>
    </header>
  );
}

/** Which node answers; in a cluster another one can be asked through the one that serves this page. */
function Nodes(props: { shown: string | null; onNode: (name: string | null) => void }): JSX.Element {
  const nodes = usePolled<NodeEntry[]>('/nodes', 5000).value ?? [];
  const asked = askedNode();
  const own = nodes.find((it) => it.state === 'here')?.name ?? null;
  if (nodes.length < 2 && asked === null) {
    return <b>{props.shown ?? '…'}</b>;
  }
  const words = (it: NodeEntry): string => `${it.name}${it.state === 'here' ? '' : ` via ${own ?? 'here'}`}${it.state === 'up' || it.state === 'here' ? '' : ` (${it.state})`}`;
  const choose = (event: JSX.TargetedEvent<HTMLSelectElement>): void => {
    const name = event.currentTarget.value;
    props.onNode(name === own ? null : name);
  };
  return (
    <select aria-label="Which node answers" value={asked ?? own ?? ''} onChange={choose}>
      {nodes.map((it) => (
        <option key={it.name} value={it.name}>
          {words(it)}
        </option>
      ))}
    </select>
  );
}
