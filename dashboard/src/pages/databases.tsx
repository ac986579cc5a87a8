// Groups of database servers: who takes writes, who follows, what can be promised, and how the last changes went.

import type { JSX } from 'preact';
import type { Database, DatabaseChange, GroupMember } from '../api/model';
import { usePolled } from '../api/poll';
import * as command from '../command';
import { bytes, count, millis, NONE } from '../format';
import { ActionButton, Ago, Facts, Instead, Mark, Section } from '../parts/bits';
import { Table, type Column } from '../parts/table';
import type { Action } from '../shell';
import type { Level } from '../standing';

export function Databases(): JSX.Element {
  const databases = usePolled<Database[]>('/databases');
  if (databases.value === null) {
    return <Instead polled={databases} what="databases" />;
  }
  if (databases.value.length === 0) {
    return (
      <>
        <h1 class="verdict">This node knows of no group of databases</h1>
        <p class="quiet">Its configuration has no [[database]].</p>
      </>
    );
  }
  return (
    <>
      {databases.value.map((it) => (
        <Group key={it.name} database={it} />
      ))}
    </>
  );
}

const LEVELS: Record<Database['state'], Level> = { good: 'good', warning: 'warn', bad: 'bad' };

function Group(props: { database: Database }): JSX.Element {
  const { database } = props;
  const level = LEVELS[database.state];
  return (
    <>
      <h1 class={`verdict banner ${level}`} aria-live="polite">
        <Mark level={level}>{`${database.name}: ${database.verdict}`}</Mark>
      </h1>
      {database.next !== null && <p>Next: {database.next}</p>}
      <Facts
        facts={[
          ['Engine', database.engine],
          ['Durability', database.durability],
          ['A write is on', acks(database)],
          ['Term', count(database.term)],
          ['Writes come in at', database.write ?? NONE],
          ['Reads come in at', database.read ?? NONE],
        ]}
      />
      <p class="actions">
        <ActionButton action={switchover(database, null)} word="switch over" label={`switch ${database.name} over`} />
        <ActionButton action={failover(database, null)} word="fail over" label={`fail ${database.name} over`} isDanger />
        {database.paused ? (
          <ActionButton action={resume(database)} word="resume" label={`resume ${database.name}`} />
        ) : (
          <ActionButton action={pause(database)} word="pause" label={`pause ${database.name}`} />
        )}
      </p>
      <Section title={`Members of ${database.name}`}>
        <Table name={`Members of ${database.name}`} columns={membersOf(database)} rows={database.members} rowKey={(row) => row.node} level={levelOf} empty="None." />
      </Section>
      <Section title={`What ${database.name} promises`}>
        <ul>
          {[...database.differs.map((it) => `DIFFERENT CONFIGURATION: ${it}`), ...database.promises].map((it) => (
            <li key={it}>{it}</li>
          ))}
        </ul>
      </Section>
      <Section title={`Changes of the primary of ${database.name}`}>
        <Table name={`Changes of the primary of ${database.name}`} columns={CHANGES} rows={database.failovers} rowKey={(row) => `${row.term} ${row.at}`} empty="There was none that is remembered." />
      </Section>
    </>
  );
}

function acks(database: Database): string {
  const { acks: count, acks_of: of } = database;
  if (count === 0) {
    return 'the primary alone';
  }
  return `the primary and ${of.length === count ? of.join(' and ') : `${count} of ${of.join(', ')}`}`;
}

function levelOf(it: GroupMember): Level {
  if (it.state === 'running' || it.state === 'streaming') {
    return it.error === null ? 'good' : 'warn';
  }
  return it.state === 'away' || it.state === 'outdated' ? 'bad' : 'warn';
}

function remarkOf(it: GroupMember): string {
  return it.error ?? it.action ?? '';
}

function rungsOf(it: GroupMember): string {
  return it.rungs.map((rung) => (rung.missing === null ? rung.name : `no ${rung.name}: ${rung.missing}`)).join('; ');
}

function membersOf(database: Database): Column<GroupMember>[] {
  return [
    { id: 'node', title: 'Node', width: '8rem', key: (it) => it.node, cell: (it) => (it.here ? <b title="this node">{it.node}</b> : it.node) },
    { id: 'role', title: 'Role', width: '6rem', hide: 'phone', key: (it) => it.role, cell: (it) => it.role },
    {
      id: 'state', title: 'State', key: (it) => it.state,
      cell: (it) => (
        <span class="why" title={remarkOf(it)}>
          <Mark level={levelOf(it)}>{it.state}</Mark> {remarkOf(it)}
        </span>
      ),
    },
    { id: 'lag', title: 'Behind', isNumber: true, width: '7rem', hide: 'phone', key: (it) => it.lag_bytes, cell: (it) => bytes(it.lag_bytes) },
    { id: 'position', title: 'Position', isNumber: true, width: '9rem', hide: 'small', key: (it) => it.position, cell: (it) => it.position_text ?? NONE },
    {
      id: 'fencing', title: 'Fencing', hide: 'small', title_hint: 'what keeps it from taking writes when it must not',
      cell: (it) => (
        <span class="why" title={rungsOf(it)}>
          {rungsOf(it)}
        </span>
      ),
    },
    {
      id: 'actions', title: 'Actions', width: '11rem',
      cell: (it) =>
        it.node === database.primary ? null : (
          <span class="actions">
            <ActionButton action={switchover(database, it.node)} word="switch" label={`switch ${database.name} over to ${it.node}`} />
            <ActionButton action={failover(database, it.node)} word="force" label={`force ${database.name} over to ${it.node}`} isDanger />
          </span>
        ),
    },
  ];
}

function phasesOf(it: DatabaseChange): string {
  return it.parts.map((part) => `${part.name} ${part.ms === null ? NONE : millis(part.ms)}`).join(', ');
}

const CHANGES: Column<DatabaseChange>[] = [
  { id: 'at', title: 'When', width: '7rem', key: (it) => it.at, cell: (it) => <Ago time={it.at} /> },
  { id: 'who', title: 'Primary', width: '12rem', cell: (it) => `${it.from} → ${it.to}` },
  { id: 'why', title: 'Why', hide: 'phone', cell: (it) => `${it.planned ? 'switchover' : 'failover'}: ${it.cause}` },
  { id: 'rto', title: 'Without writes', isNumber: true, width: '9rem', key: (it) => it.rto_ms, cell: (it) => millis(it.rto_ms) },
  { id: 'phases', title: 'By phase', hide: 'small', title_hint: 'the last one until a client was led to the new primary', cell: (it) => <span title={it.routed_by === null ? 'no client was led to it yet' : `the first client came by ${it.routed_by}`}>{phasesOf(it)}</span> },
  { id: 'rpo', title: 'Lost', hide: 'phone', cell: (it) => <Mark level={it.loss.measured ? 'good' : 'warn'}>{it.loss.text}</Mark> },
];

function change(database: Database, action: string, node: string | null): Action['request'] {
  const path = `/databases/${encodeURIComponent(database.name)}/${action}`;
  return () => ({ path, method: 'POST', body: node === null ? {} : { node } });
}

function switchover(database: Database, node: string | null): Action {
  return {
    title: `Switch ${database.name} over${node === null ? '' : ` to ${node}`}`,
    effect: `${database.primary ?? 'The primary'} stops in order, ${node ?? 'the best replica'} takes over once it has everything. No acknowledged write is lost.`,
    harm: `Sessions of ${database.primary ?? 'the primary'} end, and writes wait for a moment.`,
    command: () => command.database('switchover', database.name, node),
    request: change(database, 'switchover', node),
  };
}

function failover(database: Database, node: string | null): Action {
  const to = database.members.find((it) => it.node === node);
  const lacks = to === undefined || to.lag_bytes === null ? 'How much that is is not known.' : `It was seen to lack ${bytes(to.lag_bytes)}.`;
  const loss = database.acks === 0 ? 'What no replica has received is lost.' : 'Nobody takes writes until enough members have said what they have.';
  return {
    title: `Fail ${database.name} over${node === null ? '' : ` to ${node}`}`,
    effect: `${database.primary ?? 'The primary'} is stopped at once, and ${node === null ? 'the replica that has the most takes over' : `${node} takes over whatever it lacks`}.`,
    harm: node === null ? loss : `Acknowledged writes that ${node} has not are lost. ${lacks}`,
    command: () => command.database('failover', database.name, node),
    request: change(database, 'failover', node),
  };
}

function pause(database: Database): Action {
  return {
    title: `Pause ${database.name}`,
    effect: 'Nothing is changed over by itself until it is resumed.',
    harm: 'A primary that fails meanwhile is not replaced.',
    command: () => command.database('pause', database.name, null),
    request: change(database, 'pause', null),
  };
}

function resume(database: Database): Action {
  return {
    title: `Resume ${database.name}`,
    effect: 'A primary that fails is replaced by itself again.',
    command: () => command.database('resume', database.name, null),
    request: change(database, 'resume', null),
  };
}
