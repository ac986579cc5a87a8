// What was promised, how much of the budget for failures is left, and how fast it burns.

import type { JSX } from 'preact';
import { useMemo } from 'preact/hooks';
import type { Burn, History, Objective, Page } from '../api/model';
import { usePolled } from '../api/poll';
import { count, millis, nines, NONE, percent, seconds } from '../format';
import { Chart } from '../parts/chart';
import { Instead, Mark, Section } from '../parts/bits';
import { Table, type Column } from '../parts/table';
import { hrefTo } from '../place';
import type { Level } from '../standing';

const SEVERITIES = ['P1', 'P2', 'P3', 'P4'];

export function Objectives(props: { name: string | null }): JSX.Element {
  const objectives = usePolled<Page<Objective>>('/objectives', 2000);
  if (objectives.value === null) {
    return <Instead polled={objectives} what="objectives" />;
  }
  const selected = objectives.value.items.find((it) => it.name === props.name) ?? null;
  return (
    <>
      <Section title="Objectives">
        <Table
          name="Objectives"
          columns={COLUMNS}
          rows={objectives.value.items}
          rowKey={(row) => row.name}
          order={{ column: 'left', descending: false }}
          level={levelOf}
          selected={props.name}
          onOpen={(row) => {
            location.hash = hrefTo('objectives', row.name === props.name ? [] : [row.name]);
          }}
          empty="The configuration has no objectives ([[objective]])."
        />
      </Section>
      {selected !== null && <Detail key={selected.name} objective={selected} />}
    </>
  );
}

function levelOf(it: Objective): Level {
  const isPaging = it.burn.some((burn) => burn.firing && (burn.severity === 'P1' || burn.severity === 'P2'));
  if (isPaging || (it.budget_left_percent ?? 100) <= 0) {
    return 'bad';
  }
  return it.burn.some((burn) => burn.firing) ? 'warn' : it.good_percent === null ? 'off' : 'good';
}

const COLUMNS: Column<Objective>[] = [
  { id: 'name', title: 'Objective', width: '13rem', key: (it) => it.name, cell: (it) => <a href={hrefTo('objectives', [it.name])}>{it.name}</a> },
  { id: 'subject', title: 'Of', width: '12rem', hide: 'small', key: (it) => it.subject.name, cell: (it) => <span title={it.subject.name}>{`${it.subject.kind} ${it.subject.name}`}</span> },
  { id: 'promise', title: 'Promise', hide: 'phone', key: (it) => it.target_percent, cell: (it) => <span title={promiseOf(it)}>{promiseOf(it)}</span> },
  { id: 'good', title: 'Good %', isNumber: true, width: '6rem', key: (it) => it.good_percent, cell: (it) => nines(it.good_percent) },
  {
    id: 'left', title: 'Budget left %', isNumber: true, width: '11.5rem', key: (it) => it.budget_left_percent,
    cell: (it) => (
      <>
        <Mark level={levelOf(it)}>{percent(it.budget_left_percent)}</Mark>
        <span class={`meter hide-phone ${levelOf(it)}`} aria-hidden="true">
          <span style={{ width: `${Math.min(100, Math.max(0, it.budget_left_percent ?? 0))}%` }} />
        </span>
      </>
    ),
  },
  { id: 'exhausted', title: 'Exhausted in', isNumber: true, width: '7.5rem', hide: 'phone', title_hint: 'at the present burn', key: (it) => it.exhausted_in_seconds, cell: (it) => seconds(it.exhausted_in_seconds) },
  ...SEVERITIES.map((severity): Column<Objective> => ({
    id: severity, title: `${severity} burn`, isNumber: true, width: '5.4rem', hide: 'phone', title_hint: 'burn in the long window; in bold: the alert fires',
    key: (it) => burnOf(it, severity)?.long ?? null,
    cell: (it) => <BurnCell burn={burnOf(it, severity)} />,
  })),
];

function promiseOf(it: Objective): string {
  const what = it.indicator === 'latency' && typeof it.threshold_ms === 'number' ? `within ${millis(it.threshold_ms)}` : it.indicator;
  return `${nines(it.target_percent)} % ${what} over ${seconds(it.window_seconds)}`;
}

function burnOf(it: Objective, severity: string): Burn | undefined {
  return it.burn.find((burn) => burn.severity === severity);
}

function times(value: number | null | undefined): string {
  return typeof value === 'number' ? `${value.toFixed(1)}×` : NONE;
}

function BurnCell(props: { burn: Burn | undefined }): JSX.Element {
  const { burn } = props;
  if (burn === undefined) {
    return <span class="quiet">{NONE}</span>;
  }
  return burn.firing ? <b class="less">{times(burn.long)}</b> : <span title={burn.why ?? ''}>{times(burn.long)}</span>;
}

function Detail(props: { objective: Objective }): JSX.Element {
  const it = props.objective;
  const history = usePolled<History>(`/objectives/${encodeURIComponent(it.name)}/history`, 30_000);
  const drawn = useMemo(() => budgetLine(history.value), [history.value]);
  return (
    <Section title={it.name} side={<a href={hrefTo('objectives')}>Close</a>}>
      <p>
        {promiseOf(it)}: {count(it.bad)} of {count(it.events)} were bad
        {typeof it.coverage_percent === 'number' && it.coverage_percent < 100 ? `; the record covers ${percent(it.coverage_percent)} % of the window` : ''}.
      </p>
      <Table name={`Burn rates of ${it.name}`} columns={BURNS} rows={it.burn} rowKey={(row) => row.severity} empty="No alert is derived from it." />
      {drawn !== null && <Chart title="Budget left %" times={drawn.times} lines={drawn.lines} format={percent} />}
    </Section>
  );
}

function budgetLine(history: History | null): { times: number[]; lines: { name: string; colour: number; values: (number | null)[] }[] } | null {
  const values = history?.series.budget_left_percent;
  if (history === null || values === undefined) {
    return null;
  }
  return {
    times: values.map((_value, at) => history.from + at * history.step_seconds),
    lines: [{ name: 'left', colour: 0, values }],
  };
}

const BURNS: Column<Burn>[] = [
  { id: 'severity', title: 'Alert', width: '5rem', cell: (it) => it.severity },
  { id: 'threshold', title: 'Fires above', isNumber: true, cell: (it) => times(it.threshold) },
  { id: 'long', title: 'Long window', isNumber: true, cell: (it) => `${times(it.long)} over ${seconds(it.long_seconds)}` },
  { id: 'short', title: 'Short window', isNumber: true, hide: 'phone', cell: (it) => `${times(it.short)} over ${seconds(it.short_seconds)}` },
  { id: 'firing', title: 'Now', cell: (it) => (it.firing ? <Mark level="bad">fires</Mark> : <span class="quiet">{it.why ?? 'quiet'}</span>) },
];
