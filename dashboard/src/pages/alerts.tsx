// What people were told of, who has taken it on, and what is silenced.

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Alert, Alerts as Shape, Page, Receiver, Silence } from '../api/model';
import { usePolled } from '../api/poll';
import * as command from '../command';
import { count, moment, NONE } from '../format';
import { ActionButton, Ago, Facts, Filter, Instead, Mark, Section } from '../parts/bits';
import { Table, type Column } from '../parts/table';
import type { Action } from '../shell';
import { matches } from '../sort';
import type { Level } from '../standing';

export function Alerts(): JSX.Element {
  const alerts = usePolled<Shape>('/alerts');
  const silences = usePolled<Page<Silence>>('/silences', 3000);
  const receivers = usePolled<Page<Receiver>>('/receivers', 3000);
  const [filter, setFilter] = useState('');
  const [open, setOpen] = useState<string | null>(null);
  if (alerts.value === null) {
    return <Instead polled={alerts} what="alerts" />;
  }
  const rows = alerts.value.items.filter((it) => matches(`${it.severity} ${it.name} ${it.summary} ${it.state} ${Object.values(it.labels).join(' ')}`, filter));
  const selected = alerts.value.items.find((it) => it.id === open) ?? null;
  return (
    <>
      <Section title="Alerts" side={<Filter value={filter} onInput={setFilter} label="Filter alerts" />}>
        <Table
          name="Alerts"
          columns={COLUMNS}
          rows={rows}
          rowKey={(row) => row.id}
          order={{ column: 'state', descending: false }}
          level={levelOf}
          selected={open}
          onOpen={(row) => setOpen(row.id === open ? null : row.id)}
          empty="No alert is firing."
        />
      </Section>
      {selected !== null && <Detail alert={selected} />}
      {silences.value !== null && (
        <Section title="Silences">
          <Table name="Silences" columns={SILENCES} rows={silences.value.items} rowKey={(row) => row.id} empty="Nothing is silenced." />
        </Section>
      )}
      {receivers.value !== null && (
        <Section title="Receivers" side={<span class="quiet">{alerts.value.evaluator ? `judged by ${alerts.value.evaluator}` : ''}</span>}>
          <Table name="Receivers" columns={RECEIVERS} rows={receivers.value.items} rowKey={(row) => row.name} empty="The configuration has no receivers: alerts are shown here only." />
        </Section>
      )}
    </>
  );
}

function levelOf(it: Alert): Level {
  if (it.state !== 'firing' || it.silenced_by || it.inhibited_by) {
    return 'off';
  }
  return it.severity === 'P1' || it.severity === 'P2' ? 'bad' : 'warn';
}

function stateOf(it: Alert): string {
  if (it.state === 'firing' && it.silenced_by) {
    return 'silenced';
  }
  if (it.state === 'firing' && it.inhibited_by) {
    return 'inhibited';
  }
  return it.acknowledged ? `taken by ${it.acknowledged.by}` : it.state;
}

const ORDER = { firing: 0, pending: 1, resolved: 2 };

const COLUMNS: Column<Alert>[] = [
  { id: 'severity', title: 'P', width: '3.2rem', key: (it) => it.severity, cell: (it) => <b>{it.severity}</b> },
  { id: 'summary', title: 'Alert', key: (it) => it.summary, cell: (it) => <span class="why" title={it.summary}>{it.summary || it.name}</span> },
  { id: 'state', title: 'State', width: '9rem', key: (it) => `${ORDER[it.state]}${it.severity}`, cell: (it) => <Mark level={levelOf(it)}>{stateOf(it)}</Mark> },
  { id: 'since', title: 'Since', width: '7rem', hide: 'phone', key: (it) => it.since_at, cell: (it) => <Ago time={it.since_at} /> },
  {
    id: 'actions', title: 'Actions', width: '14.5rem', hide: 'small',
    cell: (it) => (
      <span class="actions">
        {actionsOf(it).map((action) => (
          <ActionButton key={action.title} action={action} word={action.title.split(' ')[0]?.toLowerCase() ?? ''} />
        ))}
      </span>
    ),
  },
];

function actionsOf(alert: Alert): Action[] {
  const acknowledge: Action = {
    title: `Acknowledge ${alert.name}`,
    effect: 'Others see that you have taken it on. It is not repeated to them until it changes.',
    fields: [{ name: 'note', label: 'Note', kind: 'text', initial: '', optional: true }],
    command: (values) => command.acknowledge(alert.id, values.note ?? ''),
    request: (values) => ({ path: `/alerts/${encodeURIComponent(alert.id)}/acknowledge`, method: 'POST', body: { note: values.note ?? '' } }),
  };
  const silence: Action = {
    title: `Silence ${alert.name}`,
    effect: `Nobody is told of alerts with these labels: ${Object.entries(labelsOf(alert)).map(([name, value]) => `${name}=${value}`).join(', ')}.`,
    fields: [
      { name: 'minutes', label: 'Minutes', kind: 'number', initial: '120', min: 1, max: 43_200 },
      { name: 'comment', label: 'Why', kind: 'text', initial: '' },
    ],
    command: (values) => command.silence(labelsOf(alert), Number(values.minutes ?? '120'), values.comment ?? ''),
    request: (values) => ({
      path: '/silences',
      method: 'POST',
      body: {
        matchers: Object.entries(labelsOf(alert)).map(([name, value]) => ({ name, value, is_regex: false, is_equal: true })),
        seconds: Number(values.minutes ?? '120') * 60,
        comment: values.comment ?? '',
      },
    }),
  };
  return alert.state === 'resolved' ? [] : alert.acknowledged ? [silence] : [acknowledge, silence];
}

// With the name among the labels only this alert falls silent, not all about the same service.
function labelsOf(alert: Alert): Record<string, string> {
  return { alertname: alert.name, ...alert.labels };
}

function Detail(props: { alert: Alert }): JSX.Element {
  const { alert } = props;
  return (
    <div class="panel">
      <Section title={alert.name} side={<a href={viewOf(alert)}>The view that shows it</a>}>
        <p>
          {alert.summary}
          {alert.meaning ? <span class="quiet"> ({alert.meaning})</span> : null}
        </p>
        <Facts
          facts={[
            ['Since', moment(alert.since_at)],
            ['Resolved', alert.resolved_at ? moment(alert.resolved_at) : NONE],
            ['Value', typeof alert.value === 'number' ? String(alert.value) : NONE],
            ['Runbook', runbookOf(alert)],
            ...Object.entries(alert.labels).map(([name, value]): [string, string] => [name, value]),
          ]}
        />
        {alert.acknowledged && (
          <p>
            Taken by {alert.acknowledged.by}, {moment(alert.acknowledged.at)}
            {alert.acknowledged.note === '' ? '' : `: ${alert.acknowledged.note}`}
          </p>
        )}
        <div class="buttons">
          {actionsOf(alert).map((action) => (
            <ActionButton key={action.title} action={action} word={action.title.split(' ')[0] ?? ''} />
          ))}
        </div>
        {(alert.notifications ?? []).length > 0 && (
          <ul class="events">
            {(alert.notifications ?? []).map((it) => (
              <li key={`${it.receiver}${it.at ?? ''}`}>
                <time dateTime={it.at ?? ''}>{moment(it.at)}</time>
                <Mark level={it.outcome === 'failed' ? 'bad' : it.outcome === 'delivered' ? 'good' : 'warn'}>
                  {it.receiver}: {it.outcome} {it.detail ?? ''}
                </Mark>
              </li>
            ))}
          </ul>
        )}
      </Section>
    </div>
  );
}

// A link only if it is one: a path of the documentation leads nowhere from here.
function runbookOf(alert: Alert): JSX.Element | string {
  const { runbook } = alert;
  return runbook?.startsWith('https://') ? (
    <a href={runbook} rel="noreferrer" target="_blank">
      {runbook}
    </a>
  ) : (
    runbook || NONE
  );
}

// The node may say it with the address under which people find the dashboard; here that is this page.
function viewOf(alert: Alert): string {
  const at = alert.view?.indexOf('#/') ?? -1;
  return at < 0 ? '#/overview' : (alert.view ?? '').slice(at);
}

function words(it: Silence): string {
  return it.matchers.map((m) => `${m.name}${m.is_equal ? (m.is_regex ? '=~' : '=') : m.is_regex ? '!~' : '!='}${m.value}`).join(', ');
}

const SILENCES: Column<Silence>[] = [
  { id: 'matchers', title: 'Silenced', key: words, cell: (it) => <span class="why" title={words(it)}>{words(it)}</span> },
  { id: 'state', title: 'State', width: '6rem', key: (it) => it.state, cell: (it) => it.state },
  { id: 'ends', title: 'Until', width: '11rem', key: (it) => it.ends_at, cell: (it) => moment(it.ends_at) },
  { id: 'by', title: 'By', width: '7rem', hide: 'phone', key: (it) => it.created_by, cell: (it) => it.created_by },
  { id: 'comment', title: 'Why', hide: 'phone', key: (it) => it.comment, cell: (it) => it.comment },
  {
    id: 'actions', title: 'Actions', width: '7rem',
    cell: (it) =>
      it.state === 'expired' ? null : (
        <span class="actions">
          <ActionButton action={expiry(it, words(it))} word="expire" label={`expire the silence of ${words(it)}`} />
        </span>
      ),
  },
];

function expiry(silence: Silence, words: string): Action {
  return {
    title: `Expire the silence of ${words}`,
    effect: 'Whatever of it still fires is told to its receivers.',
    command: () => command.expireSilence(silence.id),
    request: () => ({ path: `/silences/${encodeURIComponent(silence.id)}`, method: 'DELETE', version: silence.etag }),
  };
}

const RECEIVERS: Column<Receiver>[] = [
  { id: 'name', title: 'Receiver', key: (it) => it.name, cell: (it) => it.name },
  { id: 'kind', title: 'Kind', width: '8rem', key: (it) => it.kind, cell: (it) => it.kind },
  { id: 'waiting', title: 'Waiting', isNumber: true, width: '6rem', key: (it) => it.waiting, cell: (it) => count(it.waiting) },
  { id: 'failed', title: 'Failed', isNumber: true, width: '6rem', key: (it) => it.failed, cell: (it) => <span class={it.failed > 0 ? 'less' : ''}>{count(it.failed)}</span> },
  { id: 'error', title: 'Last error', hide: 'phone', key: (it) => it.last_error ?? null, cell: (it) => it.last_error ?? '' },
];
