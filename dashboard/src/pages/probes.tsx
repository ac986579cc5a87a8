// Journeys of users that the nodes try themselves.

import type { JSX } from 'preact';
import type { Probe, ProbeRun } from '../api/model';
import * as command from '../command';
import { count, millis } from '../format';
import { ActionButton, Ago, Mark, Section } from '../parts/bits';
import { Table, type Column } from '../parts/table';
import type { Action } from '../shell';
import { urgency, type Level } from '../standing';

export function Probes(props: { probes: Probe[] }): JSX.Element | null {
  return props.probes.length === 0 ? null : (
    <Section title="Probes">
      <Table name="Probes" columns={COLUMNS} rows={props.probes} rowKey={(row) => row.name} level={levelOf} order={{ column: 'state', descending: false }} empty="" />
    </Section>
  );
}

const LEVELS: Record<Probe['state'], Level> = { up: 'good', degraded: 'warn', unknown: 'off', down: 'bad' };

function levelOf(it: Probe): Level {
  return LEVELS[it.state];
}

function whyOf(it: Probe): string {
  return it.failing.map((failure) => `${failure.node}: ${failure.reason}`).join('; ');
}

// A journey takes a minute at most.
const PATIENCE_MS = 70_000;

function run(it: Probe): Action {
  return {
    title: `Run ${it.name}`,
    effect: 'The node that is asked makes the journey now. What comes of it counts for nothing.',
    command: () => command.runProbe(it.name),
    request: () => ({ path: `/probes/${encodeURIComponent(it.name)}/run`, method: 'POST', patienceMs: PATIENCE_MS }),
    told: (answer) => ranAs(answer as ProbeRun),
  };
}

function ranAs({ passed, duration_ms, steps }: ProbeRun): string {
  const took = `${millis(duration_ms)} for ${count(steps.length)} steps`;
  const last = steps[steps.length - 1];
  return passed || last === undefined ? `It passed: ${took}.` : `It failed in step ${steps.length}, ${last.name}: ${last.failed ?? ''} (${took}).`;
}

const COLUMNS: Column<Probe>[] = [
  { id: 'name', title: 'Probe', width: '14rem', key: (it) => it.name, cell: (it) => it.name },
  {
    id: 'state', title: 'State', key: (it) => urgency(levelOf(it)),
    cell: (it) => (
      <span class="why" title={whyOf(it)}>
        <Mark level={levelOf(it)}>{it.state}</Mark> {whyOf(it)}
      </span>
    ),
  },
  { id: 'nodes', title: 'Nodes that try', isNumber: true, width: '9rem', hide: 'phone', key: (it) => it.nodes, cell: (it) => `${count(it.nodes)} of ${count(it.nodes_expected)}` },
  { id: 'took', title: 'Took', isNumber: true, width: '6rem', key: (it) => it.last?.duration_ms ?? null, cell: (it) => millis(it.last?.duration_ms) },
  { id: 'last', title: 'Last', isNumber: true, width: '7rem', hide: 'phone', key: (it) => it.last?.at ?? null, cell: (it) => <Ago time={it.last?.at} /> },
  { id: 'run', title: 'Now', width: '6rem', cell: (it) => <span class="actions"><ActionButton action={run(it)} word="run" label={`run ${it.name}`} /></span> },
];
