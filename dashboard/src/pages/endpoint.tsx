// One endpoint: everything that is known of it, and what can be done to it.

import type { JSX } from 'preact';
import type { Endpoint, Service } from '../api/model';
import { count, millis, moment, percent, rate, seconds } from '../format';
import { ActionButton, Facts, Mark, Section } from '../parts/bits';
import { HistoryCharts } from '../parts/history';
import { hrefTo } from '../place';
import { standingOf } from '../standing';
import { ACTIONS, actionOf } from './endpoint_actions';

export function EndpointPanel(props: { service: Service; endpoint: Endpoint }): JSX.Element {
  const { service, endpoint } = props;
  const { word, level, why } = standingOf(endpoint);
  return (
    <div class="panel">
      <Section title={endpoint.name} side={<a href={hrefTo('services', [service.name])}>Close</a>}>
        <p>
          <Mark level={level}>{word}</Mark> since {moment(endpoint.since)} ({seconds(endpoint.since_seconds)})
          {why === '' ? '' : `: ${why}`}
        </p>
        <Facts
          facts={[
            ['Address', endpoint.address ?? 'not resolved'],
            ['Checks say', endpoint.health],
            ['Zone', endpoint.zone ?? 'none'],
            ['Priority', count(endpoint.priority)],
            ['Weight', weightOf(endpoint)],
            ['req/s', rate(endpoint.activity.rate)],
            ['errors %', percent(endpoint.activity.error_percent)],
            ['p50, p99', `${millis(endpoint.activity.p50_ms)}, ${millis(endpoint.activity.p99_ms)}`],
            ['In flight', count(endpoint.in_flight)],
            ['Connections', count(endpoint.connections)],
            ['Attempts', count(endpoint.attempts)],
            ['Ejected', `${count(endpoint.ejections)}×`],
            ...breaker(endpoint),
            ...load(endpoint),
          ]}
        />
        <div class="buttons">
          {ACTIONS.map((action) => (
            <ActionButton key={action.id} action={actionOf(action.id, service, endpoint)} word={capital(action.wordFor(endpoint))} />
          ))}
        </div>
        <HistoryCharts kind="endpoint" name={`${service.name}/${endpoint.name}`} />
      </Section>
    </div>
  );
}

function weightOf(endpoint: Endpoint): string {
  const by = typeof endpoint.weight_override === 'number' ? ` (by an operator ${count(endpoint.weight_override)})` : '';
  return `${count(endpoint.weight)}${by}, gets ${percent(endpoint.weight_percent)} % of it`;
}

function breaker(endpoint: Endpoint): [string, string][] {
  const it = endpoint.breaker;
  if (it === undefined) {
    return [];
  }
  const since = typeof it.since_seconds === 'number' ? ` for ${seconds(it.since_seconds)}` : '';
  return [['Breaker', `${it.state}${since}, opened ${count(it.opened)}×, refused ${count(it.refused)}`]];
}

// Most endpoints say nothing of that, and then there is nothing to show.
function load(endpoint: Endpoint): [string, string][] {
  const said: [string, number | null | undefined][] = [['CPU %', endpoint.load?.cpu_percent], ['Memory %', endpoint.load?.memory_percent]];
  return said.flatMap(([name, value]): [string, string][] => (typeof value === 'number' ? [[name, percent(value)]] : []));
}

function capital(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}
