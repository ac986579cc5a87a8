// One service: what its clients see over time, its endpoints and why they stand as they do, its routes and their limits.

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Endpoint, Event, Page, Route, Service as Shape } from '../api/model';
import { usePolled } from '../api/poll';
import { count, largest, millis, percent, rate, seconds } from '../format';
import { ActionButton, Facts, Filter, Mark, Section } from '../parts/bits';
import { EventList } from '../parts/events';
import { HistoryCharts } from '../parts/history';
import { ScopeSwitch } from '../parts/scope';
import { Table, type Column } from '../parts/table';
import { hrefTo } from '../place';
import { useShell, type Action } from '../shell';
import { matches } from '../sort';
import { levelOf, standingOf, urgency } from '../standing';
import { ACTIONS, actionOf } from './endpoint_actions';
import { EndpointPanel } from './endpoint';

interface Props {
  service: Shape;
  endpoint: string | null;
  filter: string;
}

export function Service(props: Props): JSX.Element {
  const { service } = props;
  const { propose, status } = useShell();
  const [filter, setFilter] = useState(props.filter);
  const events = usePolled<Page<Event>>(`/events?limit=50&service=${encodeURIComponent(service.name)}`);
  const rows = service.endpoints.filter((it) => matches(`${it.name} ${it.zone ?? ''} ${standingOf(it).word} ${it.reason}`, filter));
  const selected = service.endpoints.find((it) => it.name === props.endpoint) ?? null;
  const routes = (status.value?.routes ?? []).filter((it) => it.service === service.name);
  return (
    <>
      <Head service={service} />
      <ScopeSwitch scope="node" hrefFor={(query) => hrefTo('services', [service.name], query)} />
      {selected !== null && <EndpointPanel key={selected.name} service={service} endpoint={selected} />}
      <HistoryCharts kind="service" name={service.name} />
      <Section
        title={`Endpoints (${count(rows.length)}${rows.length < service.endpoints.length ? ` of ${count(service.endpoints.length)}` : ''})`}
        side={<Filter value={filter} onInput={setFilter} label="Filter endpoints by name, zone, state or reason" />}
      >
        <Table
          name={`Endpoints of ${service.name}`}
          columns={columnsFor(service)}
          rows={rows}
          rowKey={(row) => row.name}
          order={{ column: 'state', descending: false }}
          level={(row) => standingOf(row).level}
          selected={props.endpoint}
          onOpen={(row) => {
            location.hash = hrefTo('services', row.name === props.endpoint ? [service.name] : [service.name, row.name]);
          }}
          onKey={(row, key) => proposed(service, row, key, propose)}
          empty="No endpoint is like that."
        />
      </Section>
      <Section title="Routes">
        <Table name={`Routes to ${service.name}`} columns={ROUTES} rows={routes} rowKey={(row) => row.name} empty="No route leads to this service." />
      </Section>
      {(service.sources ?? []).length > 0 && <Sources service={service} />}
      {events.value !== null && (
        <Section title="Health, breakers, ejections">
          <EventList events={events.value.items} />
        </Section>
      )}
    </>
  );
}

function proposed(service: Shape, endpoint: Endpoint, key: string, propose: (action: Action) => void): boolean {
  const kind = ACTIONS.find((it) => it.key === key);
  if (kind !== undefined) {
    propose(actionOf(kind.id, service, endpoint));
  }
  return kind !== undefined;
}

function Head(props: { service: Shape }): JSX.Element {
  const { service } = props;
  const { activity } = service;
  return (
    <>
      <h1 class="verdict">
        <a href={hrefTo('services')}>Services</a> / {service.name}{' '}
        <Mark level={levelOf(service)}>
          {service.state}
          {service.guarded ? ', cascade guard holds' : ''}
        </Mark>
      </h1>
      <Facts
        facts={[
          ['Serving', `${count(service.eligible)} of ${count(service.endpoints.length)}`],
          ['req/s', rate(activity?.rate)],
          ['errors %', percent(activity?.error_percent)],
          ['p50', millis(activity?.p50_ms)],
          ['p99', millis(activity?.p99_ms)],
          ['Unserved', count(service.empty_responses)],
          ['Retries refused', count(service.budget_refusals)],
        ]}
      />
      {(service.warnings ?? []).map((warning) => (
        <p key={warning} class="warning">
          <Mark level="warn">{warning}</Mark>
        </p>
      ))}
    </>
  );
}

function Sources(props: { service: Shape }): JSX.Element {
  return (
    <Section title="Names that endpoints come from">
      <Facts
        facts={(props.service.sources ?? []).map((source) => [
          source.name,
          `${count(source.endpoints)} endpoints${source.reason === '' ? '' : `; last answer: ${source.reason}`}`,
        ])}
      />
    </Section>
  );
}

function columnsFor(service: Shape): Column<Endpoint>[] {
  const zones = new Set(service.endpoints.map((it) => it.zone ?? ''));
  const zone: Column<Endpoint> = {
    id: 'zone', title: 'Zone', width: '5rem', hide: 'small', key: (it) => it.zone ?? null, cell: (it) => it.zone ?? '',
  };
  return [
    { id: 'name', title: 'Endpoint', width: '11rem', key: (it) => it.name, cell: (it) => <a href={hrefTo('services', [service.name, it.name])}>{it.name}</a> },
    ...(zones.size > 1 ? [zone] : []),
    {
      id: 'state', title: 'State', key: (it) => urgency(standingOf(it).level),
      cell: (it) => {
        const { word, level, why } = standingOf(it);
        return (
          <span class="why" title={why}>
            <Mark level={level}>{word}</Mark> <span class="quiet">{largest(it.since_seconds)}</span>{' '}
            <span class="hide-phone">{why}</span>
          </span>
        );
      },
    },
    { id: 'rate', title: 'req/s', isNumber: true, width: '4.6rem', key: (it) => it.activity.rate, cell: (it) => rate(it.activity.rate) },
    {
      id: 'errors', title: 'errors %', isNumber: true, width: '6rem', key: (it) => it.activity.error_percent,
      cell: (it) => <span class={(it.activity.error_percent ?? 0) > 0 ? 'less' : ''}>{percent(it.activity.error_percent)}</span>,
    },
    { id: 'p50', title: 'p50', isNumber: true, width: '5rem', hide: 'small', key: (it) => it.activity.p50_ms, cell: (it) => millis(it.activity.p50_ms) },
    { id: 'p99', title: 'p99', isNumber: true, width: '5rem', hide: 'phone', key: (it) => it.activity.p99_ms, cell: (it) => millis(it.activity.p99_ms) },
    { id: 'flight', title: 'In flight', isNumber: true, width: '5.6rem', hide: 'small', key: (it) => it.in_flight, cell: (it) => count(it.in_flight) },
    { id: 'weight', title: 'Weight', isNumber: true, width: '5.4rem', hide: 'small', key: (it) => it.weight, cell: weightOf },
    { id: 'ejections', title: 'Ejected', isNumber: true, width: '5.8rem', hide: 'small', title_hint: 'times', key: (it) => it.ejections, cell: (it) => count(it.ejections) },
    {
      id: 'actions', title: 'Actions', width: '20rem', hide: 'small',
      cell: (it) => (
        <span class="actions">
          {ACTIONS.map((action) => (
            <ActionButton
              key={action.id}
              action={actionOf(action.id, service, it)}
              word={action.wordFor(it)}
              label={`${action.wordFor(it)} ${it.name}`}
              tabIndex={-1}
            />
          ))}
        </span>
      ),
    },
  ];
}

function weightOf(endpoint: Endpoint): string {
  return endpoint.weight_percent < 100 ? `${count(endpoint.weight)} ×${endpoint.weight_percent} %` : count(endpoint.weight);
}

const ROUTES: Column<Route>[] = [
  { id: 'name', title: 'Route', key: (it) => it.name, cell: (it) => it.name },
  { id: 'listeners', title: 'Listeners', hide: 'phone', key: (it) => it.listeners.join(), cell: (it) => it.listeners.join(', ') },
  { id: 'rate', title: 'req/s', isNumber: true, width: '5rem', key: (it) => it.activity.rate, cell: (it) => rate(it.activity.rate) },
  { id: 'errors', title: 'errors %', isNumber: true, width: '6rem', key: (it) => it.activity.error_percent, cell: (it) => percent(it.activity.error_percent) },
  { id: 'p99', title: 'p99', isNumber: true, width: '5rem', key: (it) => it.activity.p99_ms, cell: (it) => millis(it.activity.p99_ms) },
  { id: 'retries', title: 'Retries', isNumber: true, width: '5rem', hide: 'small', key: (it) => it.retries, cell: (it) => count(it.retries) },
  { id: 'own', title: 'Own errors', isNumber: true, width: '7rem', hide: 'small', title_hint: 'error responses that the gateway made itself', key: (it) => it.own_errors, cell: (it) => count(it.own_errors) },
  { id: 'limits', title: 'Limits', hide: 'phone', width: '22%', cell: (it) => <span title={limitsOf(it)}>{limitsOf(it)}</span> },
  { id: 'breaker', title: 'Breaker', hide: 'phone', width: '24%', cell: breakerOf },
];

function limitsOf(route: Route): string {
  const it = route.admission;
  if (it === undefined) {
    return 'none';
  }
  const places = typeof it.limit === 'number' ? `${count(it.in_flight)} of ${count(it.limit)}${it.adaptive ? ' (adaptive)' : ''} in` : 'rate only';
  return `${places}, ${count(it.waiting)} of ${count(it.queue)} waiting, ${count(it.refused)} refused`;
}

function breakerOf(route: Route): JSX.Element | string {
  const it = route.breaker;
  if (it === undefined) {
    return 'none';
  }
  const since = typeof it.since_seconds === 'number' ? ` for ${seconds(it.since_seconds)}` : '';
  return (
    <span title={it.reason}>
      <Mark level={it.state === 'closed' ? 'good' : it.state === 'open' ? 'bad' : 'warn'}>{it.state}</Mark>
      {since}, opened {count(it.opened)}×, {count(it.refused)} refused
    </span>
  );
}
