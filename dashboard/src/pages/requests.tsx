// Recent requests that are looked for, and one of them explained.

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Explained, Page, RequestSummary } from '../api/model';
import { usePolled } from '../api/poll';
import { count, millis, moment, NONE } from '../format';
import { Instead, Mark, Section } from '../parts/bits';
import { Table, type Column } from '../parts/table';
import { hrefTo } from '../place';
import type { Level } from '../standing';
import { Explanation } from './explanation';

interface Props {
  id: string | null;
  query: Record<string, string>;
}

export function Requests(props: Props): JSX.Element {
  return (
    <>
      <Search query={props.query} />
      {props.id === null ? <Found query={props.query} /> : <One key={props.id} id={props.id} />}
    </>
  );
}

const FIELDS = [
  { name: 'service', label: 'Service' },
  { name: 'route', label: 'Route' },
  { name: 'endpoint', label: 'Endpoint' },
  { name: 'status', label: 'Status', placeholder: '503 or 5xx' },
  { name: 'min_ms', label: 'At least ms', kind: 'number' },
  { name: 'text', label: 'In the path' },
] as const;

function Search(props: { query: Record<string, string> }): JSX.Element {
  const [id, setId] = useState('');
  const submit = (event: JSX.TargetedSubmitEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const query: Record<string, string> = {};
    for (const [name, value] of form.entries()) {
      if (typeof value === 'string') {
        query[name] = value.trim();
      }
    }
    location.hash = id.trim() === '' ? hrefTo('requests', [], query) : hrefTo('requests', [id.trim()]);
  };
  return (
    <form class="search" onSubmit={submit} key={JSON.stringify(props.query)} aria-label="Search requests">
      {FIELDS.map((field) => (
        <label key={field.name}>
          <span>{field.label}</span>
          <input
            name={field.name}
            type={'kind' in field ? field.kind : 'text'}
            placeholder={'placeholder' in field ? field.placeholder : ''}
            defaultValue={props.query[field.name] ?? ''}
            {...(field.name === 'service' ? { 'data-filter': true } : {})}
          />
        </label>
      ))}
      <label class="check">
        <input name="errors" type="checkbox" value="true" defaultChecked={props.query.errors === 'true'} />
        <span>Errors only</span>
      </label>
      <label>
        <span>or x-request-id</span>
        <input value={id} onInput={(event) => setId(event.currentTarget.value)} />
      </label>
      <button type="submit" class="primary">
        Search
      </button>
    </form>
  );
}

function Found(props: { query: Record<string, string> }): JSX.Element {
  const asked = new URLSearchParams({ limit: '200', ...props.query }).toString();
  const found = usePolled<Page<RequestSummary>>(`/requests?${asked}`, 2000);
  if (found.value === null) {
    return <Instead polled={found} what="search of requests" />;
  }
  return (
    <Section title="Requests">
      <Table
        name="Requests"
        columns={COLUMNS}
        rows={found.value.items}
        rowKey={(row) => `${row.id}/${row.time}`}
        level={levelOf}
        onOpen={(row) => {
          location.hash = hrefTo('requests', [row.id]);
        }}
        empty="No recent request is like that."
      />
    </Section>
  );
}

function levelOf(it: { status: number; error?: string | null }): Level {
  return it.status >= 500 || it.status === 0 ? 'bad' : it.status >= 400 ? 'warn' : 'good';
}

const COLUMNS: Column<RequestSummary>[] = [
  { id: 'time', title: 'Time', width: '10rem', hide: 'phone', key: (it) => it.time, cell: (it) => moment(it.time) },
  { id: 'status', title: 'Status', width: '5rem', key: (it) => it.status, cell: (it) => <Mark level={levelOf(it)}>{it.status === 0 ? 'none' : it.status}</Mark> },
  {
    id: 'what', title: 'Request', key: (it) => it.path,
    cell: (it) => (
      <span class="why" title={`${it.method ?? ''} ${it.host ?? ''}${it.path ?? ''}`}>
        <a href={hrefTo('requests', [it.id])}>
          {it.method ?? NONE} {it.path ?? ''}
        </a>
      </span>
    ),
  },
  { id: 'duration', title: 'Duration', isNumber: true, width: '5.5rem', key: (it) => it.duration_ms, cell: (it) => millis(it.duration_ms) },
  { id: 'attempts', title: 'Attempts', isNumber: true, width: '5.5rem', hide: 'phone', key: (it) => it.attempts, cell: (it) => count(it.attempts) },
  { id: 'service', title: 'Service', width: '9rem', hide: 'phone', key: (it) => it.service ?? null, cell: (it) => it.service ?? NONE },
  { id: 'endpoint', title: 'Endpoint', width: '11rem', hide: 'small', key: (it) => it.endpoint ?? null, cell: (it) => it.endpoint ?? NONE },
  { id: 'error', title: 'Error', hide: 'small', width: '10rem', key: (it) => it.error ?? null, cell: (it) => it.error ?? '' },
];

function One(props: { id: string }): JSX.Element {
  const explained = usePolled<{ requests: Explained[] }>(`/requests/${encodeURIComponent(props.id)}`, 10_000);
  if (explained.value === null) {
    // Here 404 says why this very request is not remembered.
    const { problem } = explained;
    return problem?.isMissing ? (
      <p class="quiet">
        {problem.message}. {problem.hint ?? ''}
      </p>
    ) : (
      <Instead polled={explained} what="explanation of requests" />
    );
  }
  return (
    <>
      {explained.value.requests.map((it) => (
        <Explanation key={it.time} request={it} />
      ))}
    </>
  );
}
