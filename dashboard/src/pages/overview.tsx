// Whether users are served, service by service and zone by zone.

import type { JSX } from 'preact';
import type { Alert, Alerts, Event, Objective, Page, Service, Status, Zone } from '../api/model';
import { usePolled } from '../api/poll';
import { count, millis, percent, rate } from '../format';
import { hrefTo } from '../place';
import { Ago, Instead, Mark, Section, Tile } from '../parts/bits';
import { EventList } from '../parts/events';
import { ScopeSwitch, scopeOf } from '../parts/scope';
import { Table, type Column } from '../parts/table';
import { useShell } from '../shell';
import { levelOf, urgency, verdictLevel, type Level } from '../standing';
import { Certificates } from './certificates';
import { Notices } from './notices';
import { Probes } from './probes';
import { ClusterOverview } from './together';

interface Row {
  service: Service;
  /** One zone of the service; null for the whole. */
  zone: Zone | null;
  budget: number | null;
  last: Event | null;
}

export function Overview(props: { query: Record<string, string> }): JSX.Element {
  return scopeOf(props.query) === 'cluster' ? <ClusterOverview /> : <OwnOverview />;
}

function OwnOverview(): JSX.Element {
  const { status } = useShell();
  const objectives = usePolled<Page<Objective>>('/objectives', 10_000);
  const alerts = usePolled<Alerts>('/alerts?state=firing', 2000);
  const events = usePolled<Page<Event>>('/events?limit=200');
  if (status.value === null) {
    return <Instead polled={status} what="status" />;
  }
  const firing = (alerts.value?.items ?? []).filter((alert) => alert.state === 'firing');
  const recent = events.value?.items ?? [];
  const rows = status.value.services.flatMap((service) =>
    rowsOf(service, budgetOf(service.name, status.value, objectives.value?.items ?? []), lastOf(service.name, recent)),
  );
  return (
    <>
      <ScopeSwitch scope="node" hrefFor={(query) => hrefTo('overview', [], query)} />
      <Verdict status={status.value} burning={burning(objectives.value?.items ?? [])} />
      <Tiles status={status.value} firing={firing} objectives={objectives.value?.items ?? []} />
      <Section title="Services">
        <Table
          name="Services by zone"
          columns={COLUMNS}
          rows={rows}
          rowKey={(row) => `${row.service.name}/${row.zone?.zone ?? ''}`}
          level={(row) => (row.zone === null ? levelOf(row.service) : 'part')}
          onOpen={(row) => {
            location.hash = hrefTo('services', [row.service.name], row.zone?.zone ? { filter: row.zone.zone } : {});
          }}
          empty="The configuration has no services."
        />
      </Section>
      <Probes probes={status.value.probes ?? []} />
      <Notices status={status.value} />
      <Section title="What happened last" side={<a href={hrefTo('incidents')}>Incidents</a>}>
        {events.value === null ? <Instead polled={events} what="journal" /> : <EventList events={recent.slice(0, 12)} />}
      </Section>
      <Certificates />
    </>
  );
}

/** The numbers of the whole node, always the same ones in the same places. */
function Tiles(props: { status: Status; firing: Alert[]; objectives: Objective[] }): JSX.Element {
  const { services } = props.status;
  const all = total(services);
  const endpoints = services.reduce((sum, it) => sum + it.endpoints.length, 0);
  const serving = services.reduce((sum, it) => sum + it.eligible, 0);
  const least = [...props.objectives].filter((it) => it.budget_left_percent !== null).sort((a, b) => (a.budget_left_percent ?? 0) - (b.budget_left_percent ?? 0))[0];
  const worst = props.firing[0];
  return (
    <div class="tiles">
      <Tile title="Requests" value={rate(all.rate)} unit="/s" />
      <Tile title="Errors" value={percent(all.errors)} unit="%" level={erring(all.errors)} />
      <Tile title="p99, slowest service" value={millis(all.p99?.ms)} note={all.p99?.service ?? ''} />
      <Tile title="Endpoints serving" value={count(serving)} unit={`of ${count(endpoints)}`} level={serving < endpoints ? 'warn' : null} href={hrefTo('services')} />
      <Tile
        title="Budget left, least"
        value={percent(least?.budget_left_percent)}
        unit="%"
        note={least?.name ?? 'no objective has events yet'}
        level={(least?.budget_left_percent ?? 100) <= 0 ? 'bad' : null}
        href={hrefTo('objectives')}
      />
      <Tile
        title="Alerts firing"
        value={count(props.firing.length)}
        note={worst ? `${worst.severity} ${worst.summary}` : 'nobody needs to act'}
        level={worst === undefined ? null : worst.severity === 'P1' || worst.severity === 'P2' ? 'bad' : 'warn'}
        href={hrefTo('alerts')}
      />
    </div>
  );
}

interface Total {
  rate: number;
  errors: number | null;
  p99: { ms: number; service: string } | null;
}

// Percentiles cannot be added: of them the worst is told, and whose it is.
function total(services: Service[]): Total {
  const sum: Total = { rate: 0, errors: null, p99: null };
  let failed = 0;
  for (const { name, activity } of services) {
    const here = activity?.rate ?? 0;
    sum.rate += here;
    failed += (here * (activity?.error_percent ?? 0)) / 100;
    if (typeof activity?.p99_ms === 'number' && activity.p99_ms > (sum.p99?.ms ?? -1)) {
      sum.p99 = { ms: activity.p99_ms, service: name };
    }
  }
  sum.errors = sum.rate > 0 ? (failed * 100) / sum.rate : null;
  return sum;
}

function erring(errorPercent: number | null | undefined): Level | null {
  return (errorPercent ?? 0) >= 1 ? 'bad' : (errorPercent ?? 0) > 0 ? 'warn' : null;
}

function Verdict(props: { status: Status; burning: string[] }): JSX.Element {
  const { status, burning: objectives } = props;
  const reload = status.configuration.last_reload;
  const words = [status.verdict, ...objectives, ...status.node.not_ready];
  if (reload.outcome === 'refused') {
    words.push(`the last configuration was refused: ${reload.problems[0] ?? ''}`);
  }
  const lost = status.cluster?.quorum === false ? `no quorum: ${status.cluster.quorum_reason ?? ''}` : null;
  const level: Level = lost !== null ? 'bad' : verdictLevel(status);
  const shown = objectives.length > 0 && level === 'good' ? 'warn' : level;
  return (
    <h1 class={`verdict banner ${shown}`} aria-live="polite">
      <Mark level={shown}>{[...words, ...(lost === null ? [] : [lost])].join('; ')}</Mark>
    </h1>
  );
}

const COLUMNS: Column<Row>[] = [
  {
    id: 'service',
    title: 'Service',
    key: (row) => row.service.name,
    cell: (row) =>
      row.zone === null ? (
        <a href={hrefTo('services', [row.service.name])}>{row.service.name}</a>
      ) : (
        <span class="zone">{row.zone.zone === null ? 'no zone' : `zone ${row.zone.zone}`}</span>
      ),
  },
  {
    id: 'state',
    title: 'State',
    width: '8rem',
    key: (row) => urgency(levelOf(row.service)),
    cell: (row) => (row.zone === null ? <Mark level={levelOf(row.service)}>{row.service.state}</Mark> : null),
  },
  {
    id: 'up',
    title: 'Serving',
    width: '9rem',
    isNumber: true,
    hide: 'phone',
    title_hint: 'endpoints that get traffic, of all',
    key: (row) => row.zone?.eligible ?? row.service.eligible,
    cell: (row) => {
      const [up, all] = row.zone ? [row.zone.eligible, row.zone.endpoints] : [row.service.eligible, row.service.endpoints.length];
      return <span class={up === 0 && all > 0 ? 'less' : up < all ? 'fewer' : ''}>{`${count(up)} of ${count(all)}`}</span>;
    },
  },
  number('rate', 'req/s', (row) => activity(row)?.rate, rate),
  number('errors', 'errors %', (row) => activity(row)?.error_percent, percent),
  { ...number('p50', 'p50', (row) => activity(row)?.p50_ms, millis), hide: 'small' },
  { ...number('p99', 'p99', (row) => activity(row)?.p99_ms, millis), hide: 'phone' },
  { ...number('budget', 'Budget left %', (row) => row.budget, percent), hide: 'phone', width: '8.5rem' },
  {
    id: 'event',
    title: 'Last event',
    hide: 'small',
    width: '30%',
    key: (row) => (row.zone === null ? row.last?.time : null),
    cell: (row) =>
      row.zone === null && row.last !== null ? (
        <span class="event" title={row.last.text}>
          <span class="quiet"><Ago time={row.last.time} /></span> {row.last.text}
        </span>
      ) : null,
  },
];

function number(
  id: string,
  title: string,
  value: (row: Row) => number | null | undefined,
  format: (value: number | null | undefined) => string,
): Column<Row> {
  const cell = (row: Row): JSX.Element => {
    const level = id === 'errors' ? erring(value(row)) : null;
    return <span class={level === 'bad' ? 'less' : level === 'warn' ? 'fewer' : ''}>{format(value(row))}</span>;
  };
  return { id, title, key: value, cell, isNumber: true, width: '6rem' };
}

function activity(row: Row): Service['activity'] {
  return row.zone === null ? row.service.activity : row.zone.activity;
}

// A service in one zone only would be said twice.
function rowsOf(service: Service, budget: number | null, last: Event | null): Row[] {
  const zones = service.zones ?? [];
  const whole: Row = { service, zone: null, budget, last };
  return zones.length < 2 ? [whole] : [whole, ...zones.map((zone): Row => ({ service, zone, budget: null, last: null }))];
}

/** The least that is left of any objective of the service or of a route to it. */
function budgetOf(name: string, status: Status | null, objectives: Objective[]): number | null {
  const routes = new Set((status?.routes ?? []).filter((route) => route.service === name).map((route) => route.name));
  const isAbout = ({ subject }: Objective): boolean =>
    (subject.kind === 'service' && subject.name === name) || (subject.kind === 'route' && routes.has(subject.name));
  const left = objectives.filter(isAbout).flatMap((it) => (it.budget_left_percent === null ? [] : [it.budget_left_percent]));
  return left.length === 0 ? null : Math.min(...left);
}

function lastOf(name: string, events: Event[]): Event | null {
  return events.find((event) => event.subject.service === name || (event.subject.kind === 'service' && event.subject.name === name)) ?? null;
}

/** What burns, the fastest first, in words. */
function burning(objectives: Objective[]): string[] {
  const fires = objectives.flatMap((objective) =>
    objective.burn.filter((burn) => burn.firing).map((burn) => ({ objective, burn })),
  );
  fires.sort((a, b) => (b.burn.long ?? 0) - (a.burn.long ?? 0));
  return fires.slice(0, 2).map(({ objective, burn }) => `${burn.severity} on ${objective.name}, ${(burn.long ?? 0).toFixed(1)}x burn`);
}
