// Who changed what.

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { ask, Problem } from '../api/client';
import type { AuditEntry, Page } from '../api/model';
import { usePolled } from '../api/poll';
import { count, moment } from '../format';
import { Failure, Filter, Instead, Mark, Section } from '../parts/bits';
import { Table, type Column } from '../parts/table';
import { matches } from '../sort';
import type { Level } from '../standing';

export function Audit(): JSX.Element {
  const audit = usePolled<Page<AuditEntry>>('/audit?limit=200', 2000);
  const [older, setOlder] = useState<AuditEntry[]>([]);
  const [next, setNext] = useState<string | null | undefined>(undefined);
  const [filter, setFilter] = useState('');
  if (audit.value === null) {
    return <Instead polled={audit} what="audit log" />;
  }
  const all = merged(audit.value.items, older);
  const rows = all.filter((it) => matches(`${it.user} ${it.role ?? ''} ${it.action} ${it.target ?? ''} ${it.outcome} ${it.node ?? ''}`, filter));
  const cursor = next === undefined ? audit.value.next : next;
  const more = async (): Promise<void> => {
    const page = await ask<Page<AuditEntry>>(`/audit?limit=200&cursor=${encodeURIComponent(cursor ?? '')}`);
    setOlder([...older, ...page.items]);
    setNext(page.next ?? null);
  };
  return (
    <Section title="Audit" side={<Filter value={filter} onInput={setFilter} label="Filter the audit log" />}>
      <Verify />
      <Table name="Audit" columns={COLUMNS} rows={rows} rowKey={(row) => `${row.node ?? ''}/${row.seq}`} level={levelOf} empty="Nothing has been changed yet." />
      {cursor && (
        <div class="buttons">
          <button type="button" onClick={() => void more().catch(() => undefined)}>
            Older entries
          </button>
        </div>
      )}
    </Section>
  );
}

function merged(fresh: AuditEntry[], older: AuditEntry[]): AuditEntry[] {
  const last = fresh[fresh.length - 1]?.seq ?? Number.POSITIVE_INFINITY;
  return [...fresh, ...older.filter((it) => it.seq < last)];
}

function levelOf(it: AuditEntry): Level {
  return it.outcome === 'done' ? 'good' : it.outcome === 'failed' ? 'bad' : 'warn';
}

interface Verdict {
  intact: boolean;
  entries: number;
  problem?: string | null;
}

function Verify(): JSX.Element {
  const [verdict, setVerdict] = useState<Verdict | Problem | null>(null);
  const look = (): void => {
    ask<Verdict>('/audit/verify')
      .then(setVerdict)
      .catch((error: unknown) => setVerdict(error instanceof Problem ? error : new Problem(0, String(error))));
  };
  return (
    <div class="buttons">
      <button type="button" onClick={look}>
        Verify the chain
      </button>
      {verdict instanceof Problem && <Failure problem={verdict} />}
      {verdict !== null && !(verdict instanceof Problem) && (
        <span role="status">
          <Mark level={verdict.intact ? 'good' : 'bad'}>
            {verdict.intact ? `intact, ${count(verdict.entries)} entries` : `NOT INTACT: ${verdict.problem ?? ''}`}
          </Mark>
        </span>
      )}
    </div>
  );
}

const COLUMNS: Column<AuditEntry>[] = [
  { id: 'time', title: 'Time', width: '11rem', key: (it) => it.time, cell: (it) => moment(it.time) },
  { id: 'user', title: 'Who', width: '11rem', key: (it) => it.user, cell: (it) => <span title={`${it.role ?? ''} from ${it.from ?? 'here'}`}>{it.user}</span> },
  { id: 'action', title: 'What', key: (it) => `${it.action} ${it.target ?? ''}`, cell: (it) => <span class="why" title={it.target ?? ''}>{it.action} {it.target ?? ''}</span> },
  { id: 'outcome', title: 'Outcome', width: '8rem', hide: 'phone', key: (it) => it.outcome, cell: (it) => <Mark level={levelOf(it)}>{it.outcome} {it.status}</Mark> },
  { id: 'node', title: 'Node', width: '7rem', hide: 'phone', key: (it) => it.node ?? null, cell: (it) => it.node ?? '' },
  { id: 'body', title: 'Asked', hide: 'small', key: (it) => it.body ?? null, cell: (it) => <span class="why" title={it.body ?? ''}>{it.body ?? ''}</span> },
];
