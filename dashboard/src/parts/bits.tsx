// Small parts that most pages use.

import type { ComponentChildren, JSX } from 'preact';
import type { Problem } from '../api/client';
import type { Polled } from '../api/poll';
import { ago, moment } from '../format';
import type { Level } from '../standing';

const SIGNS: Record<Level, string> = { good: '●', warn: '▲', bad: '✕', off: '○' };

/** A state in one word, with a sign of its own, so that nobody needs the colour. */
export function Mark(props: { level: Level; children: ComponentChildren; title?: string }): JSX.Element {
  return (
    <span class={`mark ${props.level}`} title={props.title ?? ''}>
      <span aria-hidden="true">{SIGNS[props.level]}</span> {props.children}
    </span>
  );
}

/** How long ago, with the exact time for whoever points at it. */
export function Ago(props: { time: string | number | null | undefined }): JSX.Element {
  return <span title={moment(props.time)}>{ago(props.time)}</span>;
}

/** Names and values side by side. */
export function Facts(props: { facts: [string, ComponentChildren][] }): JSX.Element {
  return (
    <dl class="facts">
      {props.facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** What a page shows in place of an answer: that it is on its way, that this node has no such thing, or what went wrong. */
export function Instead(props: { polled: Polled<unknown>; what: string }): JSX.Element | null {
  const { problem, value } = props.polled;
  if (value !== null) {
    return null;
  }
  if (problem === null) {
    return <p class="quiet" aria-busy="true">Asking the node…</p>;
  }
  if (problem.isMissing) {
    return <p class="quiet">This node's version or configuration has no {props.what}.</p>;
  }
  return <Failure problem={problem} />;
}

export function Failure(props: { problem: Problem }): JSX.Element {
  return (
    <div class="failure" role="alert">
      <p>{props.problem.message}</p>
      {props.problem.hint !== null && <p class="quiet">{props.problem.hint}</p>}
    </div>
  );
}

/** A part of a page with a head. */
export function Section(props: { title: string; side?: ComponentChildren; children: ComponentChildren }): JSX.Element {
  return (
    <section aria-label={props.title}>
      <div class="section-head">
        <h2>{props.title}</h2>
        {props.side}
      </div>
      {props.children}
    </section>
  );
}

/** The field by which a table is filtered; the key `/` leads to the first one of a page. */
export function Filter(props: { value: string; onInput: (value: string) => void; label: string }): JSX.Element {
  return (
    <input
      class="filter"
      type="search"
      data-filter
      placeholder="Filter (/)"
      aria-label={props.label}
      value={props.value}
      onInput={(event) => props.onInput(event.currentTarget.value)}
    />
  );
}
