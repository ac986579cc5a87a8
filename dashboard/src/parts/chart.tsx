// Lines over time. The library that draws them is loaded with the first chart, so that the overview does not wait for it.

import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type uPlot from 'uplot';

export interface Line {
  name: string;
  /** Index of the colour in the style sheet: --line-0, --line-1, ... */
  colour: number;
  values: (number | null)[];
}

interface Props {
  title: string;
  /** Seconds since 1970, one for each value. */
  times: number[];
  lines: Line[];
  format: (value: number | null) => string;
}

const HEIGHT_PX = 150;

export function Chart(props: Props): JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const [isReady, setReady] = useState(false);
  const names = props.lines.map((line) => line.name).join();

  useEffect(() => {
    let isOver = false;
    let observer: ResizeObserver | null = null;
    void import('./draw').then(({ draw }) => {
      const element = place.current;
      if (isOver || element === null) {
        return;
      }
      chart.current = draw(element, latest.current, HEIGHT_PX);
      observer = new ResizeObserver(() => chart.current?.setSize({ width: element.clientWidth, height: HEIGHT_PX }));
      observer.observe(element);
      setReady(true);
    });
    return () => {
      isOver = true;
      observer?.disconnect();
      chart.current?.destroy();
      chart.current = null;
    };
  }, [names]);
  useEffect(() => {
    chart.current?.setData([props.times, ...props.lines.map((line) => line.values)]);
  }, [props.times, props.lines, isReady]);

  return (
    <figure class="chart">
      <figcaption>
        {props.title}
        {props.lines.map((line) => (
          <span key={line.name} class="legend">
            <span class={`swatch line-${line.colour}`} aria-hidden="true" /> {line.name}{' '}
            <b>{props.format(lastOf(line.values))}</b>
          </span>
        ))}
      </figcaption>
      <div ref={place} class="canvas" role="img" aria-label={spoken(props)} />
    </figure>
  );
}

function lastOf(values: readonly (number | null)[]): number | null {
  return values.findLast((value) => value !== null) ?? null;
}

function spoken(props: Props): string {
  return `${props.title}: ${props.lines.map((line) => `${line.name} ${props.format(lastOf(line.values))}`).join(', ')}`;
}
