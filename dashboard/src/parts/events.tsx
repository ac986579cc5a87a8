// What happened, a line each.

import type { JSX } from 'preact';
import type { Event } from '../api/model';
import { clock, moment } from '../format';
import type { Level } from '../standing';
import { Mark } from './bits';

const LEVELS: Record<string, Level> = { bad: 'bad', good: 'good', note: 'off', fault: 'bad', action: 'warn', recovery: 'good' };

export function EventList(props: { events: Event[] }): JSX.Element {
  if (props.events.length === 0) {
    return <p class="quiet">Nothing has changed since the node started.</p>;
  }
  return (
    <ul class="events">
      {props.events.map((event) => (
        <li key={`${event.node}/${event.seq}`}>
          <time dateTime={event.time} title={moment(event.time)}>
            {clock(event.time)}
          </time>
          <Mark level={LEVELS[event.part ?? event.level ?? 'note'] ?? 'off'}>
            {event.part && event.part !== 'note' ? <b>{event.part} </b> : null}
            {event.text}
          </Mark>
          <span class="quiet hide-phone">{event.node}</span>
        </li>
      ))}
    </ul>
  );
}
