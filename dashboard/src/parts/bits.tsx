// Small parts that most pages use.

import type { ComponentChildren, JSX } from 'preact';
import type { Problem } from '../api/client';
import type { Polled } from '../api/poll';
import { ago, moment, NONE } from '../format';
import { refusalOf, useShell, type Action } from '../shell';
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

interface Figure {
  title: string;
  value: string;
  unit?: string;
  /** What the number is about, in a line that is there even if it is empty, so that nothing jumps. */
  note?: string;
  level?: Level | null;
  href?: string;
}

/** One number that matters, large. */
export function Tile(props: Figure): JSX.Element {
  const inner = (
    <>
      <span class="tile-title">{props.title}</span>
      <span class="tile-value">
        {props.value}
        {props.unit !== undefined && props.value !== NONE && <small> {props.unit}</small>}
      </span>
      <span class="tile-note" title={props.note ?? ''}>
        {props.note ?? ''}
      </span>
    </>
  );
  const kind = `tile ${props.level ?? ''}`;
  return props.href === undefined ? (
    <div class={kind}>{inner}</div>
  ) : (
    <a class={kind} href={props.href}>
      {inner}
    </a>
  );
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

/** A button that opens an action's dialog. Whoever may not do it is told so there, beside the command line. */
export function ActionButton(props: { action: Action; word: string; label?: string; isDanger?: boolean; tabIndex?: number }): JSX.Element {
  const { session, propose } = useShell();
  const refusal = refusalOf(session, props.action);
  const kind = [props.isDanger ? 'danger' : '', refusal === null ? '' : 'cannot'].join(' ').trim();
  return (
    <button
      type="button"
      class={kind}
      title={refusal ?? props.action.title}
      {...(props.label === undefined ? {} : { 'aria-label': props.label })}
      {...(props.tabIndex === undefined ? {} : { tabIndex: props.tabIndex })}
      onClick={() => propose(props.action)}
    >
      {props.word}
    </button>
  );
}
