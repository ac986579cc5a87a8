// Traffic and durations over time, from the history that the node keeps itself.

import type { JSX } from 'preact';
import { useMemo, useState } from 'preact/hooks';
import type { History } from '../api/model';
import { usePolled } from '../api/poll';
import { millis, percent, rate } from '../format';
import { Chart, type Line } from './chart';
import { Missing, type Scope } from './scope';

const SPANS = [
  { title: '10 min', seconds: 600, step: 1, everyMs: 2000 },
  { title: '1 h', seconds: 3600, step: 10, everyMs: 10_000 },
  { title: '6 h', seconds: 21_600, step: 60, everyMs: 30_000 },
  { title: '3 d', seconds: 259_200, step: 600, everyMs: 60_000 },
  { title: '28 d', seconds: 2_419_200, step: 3600, everyMs: 60_000 },
] as const;

export function HistoryCharts(props: { kind: string; name: string; scope?: Scope }): JSX.Element | null {
  const [index, setIndex] = useState(0);
  const span = SPANS[index] ?? SPANS[0];
  const path = `/history?kind=${props.kind}&name=${encodeURIComponent(props.name)}&span=${span.seconds}&step=${span.step}&scope=${props.scope ?? 'node'}`;
  const history = usePolled<History>(path, span.everyMs);
  const drawn = useMemo(() => linesOf(history.value), [history.value]);
  if (history.problem?.isMissing) {
    return null;
  }
  return (
    <section class="history" aria-label={`History of ${props.name}`}>
      <div class="spans" role="group" aria-label="How far back">
        {SPANS.map((it, at) => (
          <button key={it.title} type="button" aria-pressed={at === index} onClick={() => setIndex(at)}>
            {it.title}
          </button>
        ))}
        {history.problem !== null && <span class="quiet">{history.problem.message}</span>}
        {history.value?.coverage && <Missing coverage={history.value.coverage} />}
      </div>
      {drawn === null ? (
        <div class="charts" aria-busy="true" />
      ) : (
        <div class="charts">
          <Chart title="Requests a second" times={drawn.times} lines={drawn.rate} format={rate} />
          <Chart title="Errors %" times={drawn.times} lines={drawn.errors} format={percent} />
          <Chart title="Duration" times={drawn.times} lines={drawn.durations} format={millis} />
        </div>
      )}
    </section>
  );
}

interface Drawn {
  times: number[];
  rate: Line[];
  errors: Line[];
  durations: Line[];
}

function linesOf(history: History | null): Drawn | null {
  if (history === null) {
    return null;
  }
  const { series, from, step_seconds: step } = history;
  const length = Math.max(0, ...Object.values(series).map((values) => values?.length ?? 0));
  const line = (name: string, key: string, colour: number): Line[] => {
    const values = series[key];
    return values === undefined ? [] : [{ name, colour, values }];
  };
  return {
    times: Array.from({ length }, (_none, at) => from + at * step),
    rate: line('req/s', 'rate', 0),
    errors: line('failed', 'error_percent', 2),
    durations: [...line('p50', 'p50_ms', 0), ...line('p90', 'p90_ms', 3), ...line('p99', 'p99_ms', 1)],
  };
}
