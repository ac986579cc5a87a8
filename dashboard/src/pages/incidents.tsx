// What broke, what was done about it, and how long it took, minute by minute.

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Event, Incident, Page } from '../api/model';
import { usePolled } from '../api/poll';
import { moment, NONE, seconds } from '../format';
import { Facts, Filter, Instead, Mark, Section } from '../parts/bits';
import { EventList } from '../parts/events';
import { Table, type Column } from '../parts/table';
import { hrefTo } from '../place';
import { matches } from '../sort';
import type { Level } from '../standing';

export function Incidents(props: { id: string | null }): JSX.Element {
  return props.id === null ? <List /> : <Timeline key={props.id} id={props.id} />;
}

function List(): JSX.Element {
  const incidents = usePolled<Page<Incident>>('/incidents?limit=200');
  const [filter, setFilter] = useState('');
  if (incidents.value === null) {
    return <Instead polled={incidents} what="incidents" />;
  }
  const rows = incidents.value.items.filter((it) =>
    matches(`${it.title} ${it.cause} ${it.services.join(' ')} ${it.nodes.join(' ')} ${it.planned ? 'planned' : ''}`, filter),
  );
  return (
    <Section title="Incidents" side={<Filter value={filter} onInput={setFilter} label="Filter incidents" />}>
      <Table
        name="Incidents"
        columns={COLUMNS}
        rows={rows}
        rowKey={(row) => row.id}
        level={levelOf}
        onOpen={(row) => {
          location.hash = hrefTo('incidents', [row.id]);
        }}
        empty="Nothing broke as far back as the record goes."
      />
    </Section>
  );
}

function levelOf(it: Incident): Level {
  if (it.ended_at !== null) {
    return 'off';
  }
  return it.level === 'down' ? 'bad' : 'warn';
}

const COLUMNS: Column<Incident>[] = [
  { id: 'began', title: 'Began', width: '11rem', key: (it) => it.began_at, cell: (it) => moment(it.began_at) },
  {
    id: 'title', title: 'What', key: (it) => it.title,
    cell: (it) => (
      <span class="why" title={it.title}>
        <a href={hrefTo('incidents', [it.id])}>{it.title}</a>
      </span>
    ),
  },
  { id: 'state', title: 'State', width: '8rem', hide: 'phone', key: (it) => it.ended_at ?? '', cell: (it) => <Mark level={levelOf(it)}>{it.ended_at === null ? 'open' : it.planned ? 'planned' : 'over'}</Mark> },
  { id: 'duration', title: 'Duration', isNumber: true, width: '7.5rem', key: (it) => it.duration_seconds, cell: (it) => seconds(it.duration_seconds) },
  { id: 'unavailable', title: 'Unavailable', isNumber: true, width: '7.5rem', hide: 'phone', title_hint: 'how long users were not served', key: (it) => it.unavailable_seconds ?? null, cell: (it) => seconds(it.unavailable_seconds) },
  { id: 'cause', title: 'Cause', hide: 'small', key: (it) => it.cause, cell: (it) => <span class="why" title={it.cause}>{it.cause}</span> },
];

function Timeline(props: { id: string }): JSX.Element {
  const incident = usePolled<Incident>(`/incidents/${encodeURIComponent(props.id)}`);
  if (incident.value === null) {
    return <Instead polled={incident} what={`incident ${props.id}`} />;
  }
  const it = incident.value;
  return (
    <>
      <h1 class="verdict">
        <a href={hrefTo('incidents')}>Incidents</a> / <Mark level={levelOf(it)}>{it.title}</Mark>
      </h1>
      <Facts
        facts={[
          ['Began', moment(it.began_at)],
          ['Ended', it.ended_at === null ? 'not yet' : moment(it.ended_at)],
          ['Duration', seconds(it.duration_seconds)],
          ['Users not served', seconds(it.unavailable_seconds)],
          ['Kind', it.planned ? 'planned' : 'unplanned'],
          ['Services', it.services.join(', ') || NONE],
          ['Nodes', it.nodes.join(', ') || NONE],
          ['Cause', it.cause],
        ]}
      />
      {(it.actions ?? []).length > 0 && (
        <Section title="What was done">
          <ul>
            {(it.actions ?? []).map((action) => (
              <li key={action}>{action}</li>
            ))}
          </ul>
        </Section>
      )}
      <Section title="Minute by minute" side={it.left_out ? <span class="quiet">{it.left_out} more entries are not listed</span> : null}>
        {byMinute(it.entries ?? []).map(([minute, entries]) => (
          <section key={minute} class="minute" aria-label={minute}>
            <h3>{minute}</h3>
            <EventList events={entries} />
          </section>
        ))}
      </Section>
    </>
  );
}

/** The entries of each minute, in their order. */
function byMinute(entries: Event[]): [string, Event[]][] {
  const minutes = new Map<string, Event[]>();
  for (const entry of entries) {
    const minute = moment(entry.time).slice(0, -3);
    minutes.set(minute, [...(minutes.get(minute) ?? []), entry]);
  }
  return [...minutes.entries()];
}
