// What can be done to an endpoint.

import type { Endpoint, Service } from '../api/model';
import * as command from '../command';
import type { Action, Values } from '../shell';
import { isLast } from '../standing';

export type Kind = 'drain' | 'weight' | 'eject' | 'reset';

export const ACTIONS: { id: Kind; key: string; wordFor: (endpoint: Endpoint) => string }[] = [
  { id: 'drain', key: 'd', wordFor: (it) => (isDrainedHere(it) ? 'undrain' : 'drain') },
  { id: 'weight', key: 'w', wordFor: () => 'weight' },
  { id: 'eject', key: 'e', wordFor: () => 'eject' },
  { id: 'reset', key: 'r', wordFor: () => 'reset' },
];

function isDrainedHere(endpoint: Endpoint): boolean {
  return endpoint.draining && endpoint.drained_by !== 'configuration';
}

export function actionOf(kind: Kind, service: Service, endpoint: Endpoint): Action {
  switch (kind) {
    case 'drain':
      return isDrainedHere(endpoint) ? undrain(service, endpoint) : drain(service, endpoint);
    case 'weight':
      return weight(service, endpoint);
    case 'eject':
      return eject(service, endpoint);
    case 'reset':
      return reset(service, endpoint);
  }
}

function drain(service: Service, endpoint: Endpoint): Action {
  return {
    title: `Drain ${service.name}/${endpoint.name}`,
    service: service.name,
    effect: `It gets no new requests; the ${endpoint.in_flight} in flight are finished. It lasts until it is undone.`,
    harm: lastOne(service, endpoint),
    command: () => command.drain(service.name, endpoint.name, false),
    request: () => post('/drain', { service: service.name, endpoint: endpoint.name, drain: true }, endpoint.etag),
  };
}

function undrain(service: Service, endpoint: Endpoint): Action {
  return {
    title: `Undrain ${service.name}/${endpoint.name}`,
    service: service.name,
    effect: 'It gets new requests again.',
    command: () => command.drain(service.name, endpoint.name, true),
    request: () => post('/drain', { service: service.name, endpoint: endpoint.name, drain: false }, endpoint.etag),
  };
}

function weight(service: Service, endpoint: Endpoint): Action {
  const wanted = (values: Values): number | null => (values.weight?.trim() ? Number(values.weight) : null);
  return {
    title: `Weigh ${service.name}/${endpoint.name}`,
    service: service.name,
    effect: 'Its share of the traffic is its weight of the sum of all. Empty: as the configuration says.',
    fields: [
      { name: 'weight', label: 'Weight', kind: 'number', initial: String(endpoint.weight_override ?? endpoint.weight), min: 1, max: 1000, optional: true },
    ],
    command: (values) => command.weight(service.name, endpoint.name, wanted(values)),
    request: (values) => post('/weight', { service: service.name, endpoint: endpoint.name, weight: wanted(values) }, endpoint.etag),
  };
}

function eject(service: Service, endpoint: Endpoint): Action {
  const wanted = (values: Values): number => Number(values.seconds ?? '60');
  return {
    title: `Eject ${service.name}/${endpoint.name}`,
    service: service.name,
    effect: 'It gets no requests for this long, as if its answers had been bad. It ends by itself.',
    harm: lastOne(service, endpoint),
    fields: [{ name: 'seconds', label: 'Seconds', kind: 'number', initial: '60', min: 1, max: 86_400 }],
    command: (values) => command.eject(service.name, endpoint.name, wanted(values)),
    request: (values) => post('/eject', { service: service.name, endpoint: endpoint.name, seconds: wanted(values) }),
  };
}

function reset(service: Service, endpoint: Endpoint): Action {
  return {
    title: `Reset ${service.name}/${endpoint.name}`,
    service: service.name,
    effect: 'Its breaker is closed, its ejection ends, and its health is judged anew.',
    harm: endpoint.eligible ? null : 'It may be sent requests before it can serve them.',
    command: () => command.reset(service.name, endpoint.name),
    request: () => post('/reset', { service: service.name, endpoint: endpoint.name }),
  };
}

function lastOne(service: Service, endpoint: Endpoint): string | null {
  return isLast(service, endpoint)
    ? `It is the last endpoint of ${service.name} that gets traffic: requests will be answered 503.`
    : null;
}

function post(path: string, body: unknown, version?: string): ReturnType<Action['request']> {
  return { path, method: 'POST', body, version };
}
