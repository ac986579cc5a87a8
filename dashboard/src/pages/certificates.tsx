// Certificates in use: how long each is valid, and when it is renewed.

import type { JSX } from 'preact';
import type { Certificate, Page } from '../api/model';
import { usePolled } from '../api/poll';
import { largest, moment } from '../format';
import { Mark, Section } from '../parts/bits';
import { Table, type Column } from '../parts/table';
import type { Level } from '../standing';

const DAY_SECONDS = 86_400;
// The alert CertificateExpiring is worth a ticket from here on.
const SOON_DAYS = 14;

export function Certificates(): JSX.Element | null {
  const found = usePolled<Page<Certificate>>('/certificates', 60_000);
  const rows = found.value?.items ?? [];
  return rows.length === 0 ? null : (
    <Section title="Certificates">
      <Table name="Certificates" columns={COLUMNS} rows={rows} rowKey={(row) => `${row.usage} ${row.file}`} level={levelOf} empty="" />
    </Section>
  );
}

function levelOf(it: Certificate): Level {
  if (it.problem !== null || it.days_left === null || it.days_left <= 0) {
    return 'bad';
  }
  return it.days_left >= SOON_DAYS || (renewsItself(it) && isEarly(it)) ? 'good' : 'warn';
}

function renewsItself(it: Certificate): boolean {
  return (it.acme ?? null) !== null || it.usage === 'cluster node';
}

/** More than a quarter of its time is left: nothing has gone wrong if it was not renewed yet. */
function isEarly(it: Certificate): boolean {
  const [from, until] = [Date.parse(it.not_before ?? ''), Date.parse(it.not_after ?? '')];
  return (it.days_left ?? 0) * DAY_SECONDS * 1000 > (until - from) / 4;
}

function standing(it: Certificate): string {
  if (it.days_left === null) {
    return it.acme?.state ?? 'unreadable';
  }
  return it.days_left <= 0 ? 'has ended' : `${largest(it.days_left * DAY_SECONDS)} left`;
}

/** What is wrong with it; else when it is ordered next, and when its authority would have that. */
function Renewal(props: { of: Certificate }): JSX.Element {
  const { acme = null, problem } = props.of;
  if (problem !== null) {
    return <span class="why" title={problem}>{problem}</span>;
  }
  if (acme === null) {
    return <span class="quiet">{renewsItself(props.of) ? 'by itself' : 'by hand'}</span>;
  }
  const next = acme.next_order === null ? `by ${acme.orderer ?? 'nobody yet'}` : `${minute(acme.next_order)} (${acme.next_why ?? ''})`;
  const window = acme.suggested ?? null;
  const told = window === null ? '' : `; its authority asks for ${minute(window.start)} to ${minute(window.end)}`;
  const page = window?.explanation ?? null;
  return (
    <span class="why" title={`${next}${told}`}>
      {`${next}${told} `}
      {page !== null && page.startsWith('https://') && <a href={page} rel="noreferrer">why</a>}
    </span>
  );
}

function minute(time: string): string {
  return moment(time).replace(/:\d\d$/, '');
}

const COLUMNS: Column<Certificate>[] = [
  { id: 'usage', title: 'Certificate', width: '12rem', key: (it) => it.usage, cell: (it) => <span title={it.file}>{it.usage}</span> },
  { id: 'subject', title: 'For', hide: 'phone', width: '12rem', key: (it) => it.subject, cell: (it) => <span title={it.names.join(', ')}>{it.subject}</span> },
  {
    id: 'left', title: 'Valid', width: '9rem', key: (it) => it.days_left,
    cell: (it) => (
      <span class="why" title={it.problem ?? `until ${moment(it.not_after)}`}>
        <Mark level={levelOf(it)}>{standing(it)}</Mark>
      </span>
    ),
  },
  { id: 'renewal', title: 'Renewed', hide: 'small', key: (it) => it.acme?.next_order ?? null, cell: (it) => <Renewal of={it} /> },
];
