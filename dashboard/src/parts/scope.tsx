// Whose numbers a page shows: this node's, or those of all nodes of its cluster together.

import type { JSX } from 'preact';
import type { Coverage } from '../api/model';
import type { Polled } from '../api/poll';
import { count } from '../format';
import { useShell } from '../shell';
import { Age } from './age';
import { Mark } from './bits';

export type Scope = 'node' | 'cluster';

/** What the address says; this node's unless it says otherwise. */
export function scopeOf(query: Record<string, string>): Scope {
  return query.scope === 'cluster' ? 'cluster' : 'node';
}

/** The way from one to the other. `hrefFor` is where the same page shows the other one's numbers. */
export function ScopeSwitch(props: { scope: Scope; hrefFor: (query: Record<string, string>) => string }): JSX.Element | null {
  const { status } = useShell();
  const node = status.value?.node.name ?? 'this node';
  // A node in no cluster has nobody to be added to.
  if (!status.value?.cluster && props.scope === 'node') {
    return null;
  }
  const choice = (scope: Scope, word: string, query: Record<string, string>): JSX.Element => (
    <button
      type="button"
      data-scope
      aria-pressed={props.scope === scope}
      onClick={() => {
        location.hash = props.hrefFor(query);
      }}
    >
      {word}
    </button>
  );
  return (
    <div class="spans" role="group" aria-label="Whose numbers (n)">
      {choice('node', `Node ${node}`, {})}
      {choice('cluster', 'Whole cluster', { scope: 'cluster' })}
    </div>
  );
}

/** Whose numbers are in a sum and whose are not, who has added them up, and how old the sum is. */
export function Covered(props: { polled: Polled<{ node: string; coverage: Coverage }> }): JSX.Element {
  const { value } = props.polled;
  const { nodes, missing } = value?.coverage ?? { nodes: [], missing: [] };
  return (
    <p class="covered" aria-live="polite">
      <Age polled={props.polled} />{' '}
      {value !== null && (
        <>
          <span>
            {count(nodes.length)} of {count(nodes.length + missing.length)} nodes: {nodes.join(', ')}, added up by {value.node}
          </span>{' '}
          <Missing coverage={value.coverage} />
        </>
      )}
    </p>
  );
}

/** The nodes that are not in a sum, and why. */
export function Missing(props: { coverage: Coverage }): JSX.Element {
  return (
    <>
      {props.coverage.missing.map((it) => (
        <Mark key={it.name} level="warn">
          without {it.name}: {it.reason}
        </Mark>
      ))}
    </>
  );
}
