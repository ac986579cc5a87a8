// What an endpoint's many flags come to: one word, how bad that is, and why.

import type { Endpoint, Service, Status } from './api/model';

export type Level = 'good' | 'warn' | 'bad' | 'off';

export interface Standing {
  word: string;
  level: Level;
  why: string;
}

/** How an endpoint stands; what keeps traffic away from it comes first. */
export function standingOf(endpoint: Endpoint): Standing {
  const breaker = endpoint.breaker?.state ?? 'closed';
  if (endpoint.draining) {
    const by = endpoint.drained_by === 'configuration' ? 'by the configuration' : 'by an operator';
    return { word: 'draining', level: 'off', why: `gets no new requests, ${by}` };
  }
  if (endpoint.health === 'down') {
    return { word: 'down', level: 'bad', why: endpoint.reason || 'checks fail' };
  }
  if (endpoint.ejected) {
    return { word: 'ejected', level: 'bad', why: endpoint.reason || 'its answers were worse than those of the others' };
  }
  if (breaker === 'open') {
    return { word: 'breaker open', level: 'bad', why: endpoint.breaker?.reason || endpoint.reason };
  }
  if (endpoint.health === 'unknown') {
    return { word: 'unknown', level: 'warn', why: endpoint.reason || 'no check has answered yet' };
  }
  if (breaker !== 'closed') {
    return { word: breaker, level: 'warn', why: endpoint.breaker?.reason || endpoint.reason };
  }
  if (endpoint.degraded) {
    return { word: 'degraded', level: 'warn', why: endpoint.reason || 'says so itself' };
  }
  if (endpoint.weight_percent < 100) {
    return { word: 'slow start', level: 'warn', why: `gets ${endpoint.weight_percent} % of its weight` };
  }
  if (endpoint.spare) {
    return { word: 'spare', level: 'good', why: 'stands in for others' };
  }
  return { word: 'up', level: 'good', why: endpoint.reason };
}

const ORDER: Record<Level, number> = { bad: 0, warn: 1, off: 2, good: 3 };

/** The worst first. */
export function urgency(level: Level): number {
  return ORDER[level];
}

/** How bad a service's state is. */
export function levelOf(service: Service): Level {
  return service.state === 'down' ? 'bad' : service.state === 'degraded' ? 'warn' : 'good';
}

/** How bad the node's verdict is. */
export function verdictLevel(status: Status): Level {
  if (!status.node.ready || status.services.some((service) => service.state === 'down')) {
    return 'bad';
  }
  return status.services.some((service) => service.state === 'degraded') ? 'warn' : 'good';
}

/** Whether an endpoint is the only one that gets traffic, so that taking it away takes the service away. */
export function isLast(service: Service, endpoint: Endpoint): boolean {
  return endpoint.eligible && service.endpoints.filter((it) => it.eligible).length === 1;
}
