// One request from its first byte to its end, with every choice that was made for it.

import type { JSX } from 'preact';
import type { Attempt, Considered, Explained } from '../api/model';
import * as command from '../command';
import { bytes, count, millis, moment, NONE, percent } from '../format';
import { Facts, Mark, Section } from '../parts/bits';
import { CommandLine } from '../parts/command_line';
import { Table, type Column } from '../parts/table';

export function Explanation(props: { request: Explained }): JSX.Element {
  const it = props.request;
  return (
    <>
      <h1 class="verdict">
        <Mark level={it.status >= 500 || it.status === 0 ? 'bad' : it.status >= 400 ? 'warn' : 'good'}>
          {it.status === 0 ? 'no answer' : it.status} {it.method ?? ''} {it.host ?? ''}
          {it.path ?? ''}
        </Mark>
      </h1>
      <Facts
        facts={[
          ['Began', moment(it.time)],
          ['Duration', millis(it.duration_ms)],
          ['Client', it.client],
          ['Listener', it.listener],
          ['Admission', it.admission],
          ['Route', it.route ?? NONE],
          ['Service', it.service ? `${it.service}${it.balance ? `, ${it.balance}` : ''}` : NONE],
          ['Error', it.error ?? NONE],
          ['Cache', it.cache ?? NONE],
          ['Fallback', it.fallback ?? NONE],
          ['In, out', `${bytes(it.bytes_in)}, ${bytes(it.bytes_out)}`],
          ['Configuration', `generation ${it.generation}`],
        ]}
      />
      <Section title="Waterfall">
        <Waterfall request={it} />
      </Section>
      {it.choices.map((choice, at) => (
        <Section key={at} title={`Choice ${at + 1}`} side={choice.left_out > 0 ? <span class="quiet">{count(choice.left_out)} more not listed</span> : null}>
          <Table name={`Choice ${at + 1}`} columns={CHOICE} rows={choice.endpoints} rowKey={(row) => row.endpoint} level={(row) => (row.verdict === 'chosen' ? 'selected' : '')} empty="The service has no endpoints." />
        </Section>
      ))}
      <Section title="Routes that were looked at">
        <p>{it.routes.map((route) => `${route.route}: ${route.verdict}`).join('; ') || NONE}</p>
      </Section>
      <CommandLine text={command.explain(it.id)} />
    </>
  );
}

interface Bar {
  name: string;
  start: number;
  length: number;
  kind: 'whole' | 'good' | 'bad' | 'wait';
  words: string;
}

/** The bars of a request: the whole, its attempts, and the waits between them. */
export function barsOf(request: Explained): Bar[] {
  const bars: Bar[] = [{ name: 'request', start: 0, length: request.duration_ms, kind: 'whole', words: millis(request.duration_ms) }];
  request.attempts.forEach((attempt, at) => {
    bars.push({
      name: `${at + 1}. ${attempt.endpoint}`,
      start: attempt.start_ms,
      length: attempt.duration_ms,
      kind: isGood(attempt) ? 'good' : 'bad',
      words: wordsOf(attempt),
    });
    if (typeof attempt.backoff_ms === 'number' && attempt.backoff_ms > 0) {
      bars.push({ name: 'wait before the retry', start: attempt.start_ms + attempt.duration_ms, length: attempt.backoff_ms, kind: 'wait', words: millis(attempt.backoff_ms) });
    }
  });
  return bars;
}

function isGood(attempt: Attempt): boolean {
  return attempt.status !== null && attempt.status < 500;
}

function wordsOf(it: Attempt): string {
  const status = it.status === null ? '' : ` ${it.status}`;
  const then = it.then === 'no-retry' ? `, no retry: ${it.no_retry ?? ''}` : it.then === 'retry' ? ', retried' : '';
  return `${millis(it.duration_ms)} ${it.outcome}${status}${it.reused ? ', reused connection' : ', new connection'}${then}`;
}

function Waterfall(props: { request: Explained }): JSX.Element {
  const bars = barsOf(props.request);
  const end = Math.max(props.request.duration_ms, ...bars.map((bar) => bar.start + bar.length), 0.001);
  return (
    <ol class="waterfall">
      {bars.map((bar, at) => (
        <li key={at}>
          <span class="bar-name">{bar.name}</span>
          <span class="track">
            <span
              class={`bar ${bar.kind}`}
              style={{ left: `${(bar.start / end) * 100}%`, width: `${Math.max((bar.length / end) * 100, 0.4)}%` }}
            />
          </span>
          <span class="bar-words">
            {at > 0 ? `at ${millis(bar.start)}: ` : ''}
            {bar.words}
          </span>
        </li>
      ))}
    </ol>
  );
}

const CHOICE: Column<Considered>[] = [
  { id: 'endpoint', title: 'Endpoint', key: (it) => it.endpoint, cell: (it) => it.endpoint },
  { id: 'verdict', title: 'Verdict', key: (it) => it.verdict, cell: (it) => (it.verdict === 'chosen' ? <b>chosen</b> : it.verdict) },
  { id: 'state', title: 'State', key: (it) => it.state, cell: (it) => <span class="why" title={it.reason}>{it.state} {it.reason}</span> },
  { id: 'flight', title: 'In flight', isNumber: true, hide: 'phone', width: '6rem', key: (it) => it.in_flight, cell: (it) => count(it.in_flight) },
  { id: 'weight', title: 'Weight %', isNumber: true, hide: 'phone', width: '6rem', key: (it) => it.weight_percent, cell: (it) => percent(it.weight_percent) },
];
