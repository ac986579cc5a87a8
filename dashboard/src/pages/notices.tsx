// What is unlike the configuration says, or cannot be had, and is nobody's page of its own.

import type { JSX } from 'preact';
import type { Acme, Status, Temporary } from '../api/model';
import { count } from '../format';
import { Mark, Section } from '../parts/bits';
import { CommandLine } from '../parts/command_line';
import type { Level } from '../standing';

interface Notice {
  level: Level;
  text: string;
  /** The command line that ends it. */
  command: string | null;
}

export function Notices(props: { status: Status }): JSX.Element | null {
  const notices = noticesOf(props.status);
  return notices.length === 0 ? null : (
    <Section title="To know">
      <ul class="notices">
        {notices.map((it) => (
          <li key={it.text}>
            <Mark level={it.level}>{it.text}</Mark>
            {it.command !== null && <CommandLine text={it.command} />}
          </li>
        ))}
      </ul>
    </Section>
  );
}

export function noticesOf(status: Pick<Status, 'attention' | 'acme' | 'temporary'>): Notice[] {
  const defects = status.attention?.defects ?? null;
  return [
    ...(defects === null ? [] : [{ level: 'bad' as const, text: `${defectsOf(defects.count)} ended by a panic, which is a defect: ${defects.last}`, command: null }]),
    ...(status.acme ?? []).flatMap(certificateOf),
    ...(status.temporary ?? []).map(temporaryOf),
  ];
}

function defectsOf(number: number): string {
  return number === 1 ? 'a part of the node has' : `${count(number)} parts of the node have`;
}

function certificateOf(it: Acme): Notice[] {
  const why = it.last_error === null ? '' : `: ${it.last_error}`;
  const command = `mainstay certificate renew ${it.name}`;
  if (it.state !== 'valid') {
    return [{ level: 'bad', text: `certificate ${it.name} for ${it.domains.join(', ')} is ${it.state}${why}`, command }];
  }
  return it.failures === 0 ? [] : [{ level: 'warn', text: `certificate ${it.name} is valid, and was not renewed ${count(it.failures)} times${why}`, command }];
}

function temporaryOf(it: Temporary): Notice {
  const of = it.of === null ? '' : ` of ${it.of}`;
  return { level: 'warn', text: `${it.what}${of} is ${it.is} for ${Math.ceil(it.seconds_left / 60)} min more, not ${it.configured}`, command: it.end };
}
