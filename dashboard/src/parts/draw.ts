// Draws a chart with uPlot, in the colours of the style sheet.

import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { clock } from '../format';
import type { Line } from './chart';

interface Drawing {
  times: number[];
  lines: Line[];
  format: (value: number | null) => string;
}

export function draw(place: HTMLElement, drawing: Drawing, height: number): uPlot {
  const colour = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const axis = {
    // Read at each drawing, so that another theme shows without a new chart.
    stroke: () => colour('--quiet'),
    grid: { stroke: () => colour('--line'), width: 1 },
    ticks: { stroke: () => colour('--line'), width: 1, size: 4 },
    font: '11px system-ui, sans-serif',
  };
  const options: uPlot.Options = {
    width: place.clientWidth,
    height,
    legend: { show: false },
    cursor: { y: false, points: { size: 5 } },
    scales: { y: { range: (_chart, _low, high) => [0, high > 0 ? high * 1.1 : 1] } },
    axes: [
      { ...axis, space: 60, size: 26, values: (_chart, splits) => splits.map((value) => timeOf(value, splits)) },
      { ...axis, size: 58, values: (_chart, splits) => splits.map((value) => drawing.format(value)) },
    ],
    series: [
      {},
      ...drawing.lines.map((line) => ({
        label: line.name,
        stroke: () => colour(`--line-${line.colour}`),
        width: 1.5,
        ...(drawing.lines.length === 1 ? { fill: () => `color-mix(in srgb, ${colour(`--line-${line.colour}`)} 14%, transparent)` } : {}),
        spanGaps: false,
        points: { show: false },
      })),
    ],
    hooks: { setCursor: [(chart) => showValues(chart, place, drawing)] },
  };
  return new uPlot(options, [drawing.times, ...drawing.lines.map((line) => line.values)], place);
}

// The hour of the day where the reader is; the date as well once the chart spans more than one.
function timeOf(value: number, splits: readonly number[]): string {
  const spanned = (splits[splits.length - 1] ?? 0) - (splits[0] ?? 0);
  const date = new Date(value * 1000);
  const day = `${date.getDate()}.${date.getMonth() + 1}.`;
  return spanned > 2 * 86_400 ? day : spanned > 43_200 ? `${day} ${clock(value * 1000).slice(0, 5)}` : clock(value * 1000).slice(0, 5);
}

// The values under the pointer, in words, without a box that hides the lines.
function showValues(chart: uPlot, place: HTMLElement, drawing: Drawing): void {
  const at = chart.cursor.idx;
  const time = at === null || at === undefined ? undefined : chart.data[0][at];
  if (at === null || at === undefined || time === undefined) {
    place.title = '';
    return;
  }
  const values = drawing.lines.map((line, index) => `${line.name} ${drawing.format(chart.data[index + 1]?.[at] ?? null)}`);
  place.title = `${clock(time * 1000)}  ${values.join(', ')}`;
}
