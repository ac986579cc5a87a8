// A table that is dense, sorts, is walked through by keyboard, and draws only the rows on the screen if there are many.

import type { ComponentChildren, JSX } from 'preact';
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { clicked, sorted, type Key, type Order } from '../sort';

export interface Column<Row> {
  id: string;
  title: string;
  /** What is sorted by; without it the column does not sort. */
  key?: (row: Row) => Key;
  cell: (row: Row) => ComponentChildren;
  /** Right-aligned, and sorted from the largest first. */
  isNumber?: boolean;
  /** Left out on screens that are narrower: a phone, or a small window. */
  hide?: 'phone' | 'small';
  /** Of the table's width, such as `8rem`; the rest is shared. */
  width?: string;
  title_hint?: string;
}

interface Props<Row> {
  name: string;
  columns: Column<Row>[];
  rows: readonly Row[];
  rowKey: (row: Row) => string;
  order?: Order;
  /** By Enter, or a click on the row. */
  onOpen?: (row: Row) => void;
  /** Other keys on the row. */
  onKey?: (row: Row, key: string) => boolean;
  level?: (row: Row) => string;
  selected?: string | null;
  empty: string;
}

// The same as --row in the style sheet: rows that are not drawn still take their place.
const ROW_PX = 30;
const MANY = 80;
const MARGIN_ROWS = 15;

export function Table<Row>(props: Props<Row>): JSX.Element {
  const [order, setOrder] = useState<Order | null>(props.order ?? null);
  const [focused, setFocused] = useState<string | null>(null);
  const column = props.columns.find((it) => it.id === order?.column);
  const rows = column?.key && order ? sorted(props.rows, column.key, order.descending) : [...props.rows];
  const body = useRef<HTMLTableSectionElement>(null);
  const [first, last] = useVisible(body, rows.length);
  const tabbable = rows.some((row) => props.rowKey(row) === focused) ? focused : rows[first] ? props.rowKey(rows[first]) : null;

  const move = (to: number): void => {
    const row = rows[Math.max(0, Math.min(rows.length - 1, to))];
    if (row !== undefined) {
      setFocused(props.rowKey(row));
      focusRow(body.current, Math.max(0, Math.min(rows.length - 1, to)));
    }
  };
  const onKeyDown = (event: JSX.TargetedKeyboardEvent<HTMLTableRowElement>, row: Row, at: number): void => {
    if (event.target !== event.currentTarget || event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const steps: Record<string, number> = {
      ArrowDown: at + 1, j: at + 1, ArrowUp: at - 1, k: at - 1,
      PageDown: at + 20, PageUp: at - 20, Home: 0, End: rows.length - 1,
    };
    const step = steps[event.key];
    if (step !== undefined) {
      move(step);
    } else if (event.key === 'Enter' && props.onOpen) {
      props.onOpen(row);
    } else if (!(props.onKey?.(row, event.key) ?? false)) {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <table class="table" aria-label={props.name} aria-rowcount={rows.length + 1}>
      <colgroup>
        {props.columns.map((it) => (
          <col key={it.id} class={`${hidden(it)} ${isNarrow(it) ? 'narrow' : ''}`} style={it.width ? { width: it.width } : {}} />
        ))}
      </colgroup>
      <Head columns={props.columns} order={order} onClick={(it) => setOrder(clicked(order, it.id, it.isNumber ?? false))} />
      <tbody ref={body}>
        {first > 0 && <Spacer rows={first} />}
        {rows.slice(first, last).map((row, index) => {
          const key = props.rowKey(row);
          return (
            <tr
              key={key}
              data-at={first + index}
              aria-rowindex={first + index + 2}
              tabIndex={key === tabbable ? 0 : -1}
              class={`${props.level?.(row) ?? ''} ${props.selected === key ? 'selected' : ''} ${props.onOpen ? 'opens' : ''}`}
              onFocus={() => setFocused(key)}
              onKeyDown={(event) => onKeyDown(event, row, first + index)}
              onClick={(event) => opensRow(event) && props.onOpen?.(row)}
            >
              {props.columns.map((it) => (
                <td key={it.id} class={`${it.isNumber ? 'number' : ''} ${hidden(it)}`}>
                  {it.cell(row)}
                </td>
              ))}
            </tr>
          );
        })}
        {last < rows.length && <Spacer rows={rows.length - last} />}
      </tbody>
      {rows.length === 0 && <caption>{props.empty}</caption>}
    </table>
  );
}

function Head<Row>(props: { columns: Column<Row>[]; order: Order | null; onClick: (column: Column<Row>) => void }): JSX.Element {
  return (
    <thead>
      <tr>
        {props.columns.map((it) => {
          const direction = props.order?.column === it.id ? (props.order.descending ? 'descending' : 'ascending') : null;
          return (
            <th
              key={it.id}
              scope="col"
              title={it.title_hint}
              class={`${it.isNumber ? 'number' : ''} ${hidden(it)}`}
              {...(direction ? { 'aria-sort': direction } : {})}
            >
              {it.key ? (
                <button type="button" class="sort" onClick={() => props.onClick(it)}>
                  {it.title}
                  <span aria-hidden="true">{direction === null ? '' : direction === 'descending' ? ' ↓' : ' ↑'}</span>
                </button>
              ) : (
                it.title
              )}
            </th>
          );
        })}
      </tr>
    </thead>
  );
}

// One cell only: cells over columns that a phone leaves out would make the table narrower.
function Spacer(props: { rows: number }): JSX.Element {
  return (
    <tr class="spacer" aria-hidden="true" style={{ height: `${props.rows * ROW_PX}px` }}>
      <td />
    </tr>
  );
}

function hidden<Row>(column: Column<Row>): string {
  return column.hide === undefined ? '' : `hide-${column.hide}`;
}

// On a phone the columns share the width, but for those that are small anyway.
function isNarrow<Row>(column: Column<Row>): boolean {
  return column.width?.endsWith('rem') === true && Number.parseFloat(column.width) < 6;
}

// A click on a link or button in the row is meant for that, and one that ends a selection of text for nobody.
function opensRow(event: JSX.TargetedMouseEvent<HTMLTableRowElement>): boolean {
  const target = event.target;
  return target instanceof Element && target.closest('a, button') === null && String(window.getSelection()) === '';
}

function focusRow(body: HTMLTableSectionElement | null, at: number): void {
  const present = body?.querySelector<HTMLElement>(`tr[data-at="${at}"]`);
  if (present) {
    present.focus();
    present.scrollIntoView({ block: 'nearest' });
    return;
  }
  if (body !== null) {
    // The row is not drawn yet: it is once its place is on the screen.
    const top = body.getBoundingClientRect().top + window.scrollY;
    window.scrollTo({ top: top + at * ROW_PX - window.innerHeight / 2 });
    window.setTimeout(() => body.querySelector<HTMLElement>(`tr[data-at="${at}"]`)?.focus(), 60);
  }
}

/** The rows to draw, from and up to but not including. */
function useVisible(body: { current: HTMLTableSectionElement | null }, rows: number): [number, number] {
  const [range, setRange] = useState<[number, number]>([0, Math.min(rows, MANY)]);
  useLayoutEffect(() => {
    if (rows <= MANY) {
      return undefined;
    }
    let frame = 0;
    const measure = (): void => {
      frame = 0;
      const top = body.current?.getBoundingClientRect().top ?? 0;
      const first = Math.max(0, Math.floor(-top / ROW_PX) - MARGIN_ROWS);
      const last = Math.min(rows, Math.ceil((window.innerHeight - top) / ROW_PX) + MARGIN_ROWS);
      setRange((old) => (old[0] === first && old[1] === last ? old : [Math.min(first, rows), Math.max(last, 0)]));
    };
    const later = (): void => {
      frame = frame === 0 ? requestAnimationFrame(measure) : frame;
    };
    measure();
    window.addEventListener('scroll', later, { passive: true });
    window.addEventListener('resize', later);
    return () => {
      cancelAnimationFrame(frame);
      window.removeEventListener('scroll', later);
      window.removeEventListener('resize', later);
    };
  }, [rows, body]);
  return rows <= MANY ? [0, rows] : range;
}
