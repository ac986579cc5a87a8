// The order of a table's rows.

export type Key = string | number | boolean | null | undefined;

export interface Order {
  column: string;
  descending: boolean;
}

/** Numbers by size, text as people count (`10.0.0.9` before `10.0.0.10`), what is not known last in either direction. */
export function compare(a: Key, b: Key, descending: boolean): number {
  const isNone = (key: Key): boolean => key === null || key === undefined || Number.isNaN(key);
  if (isNone(a) || isNone(b)) {
    return Number(isNone(a)) - Number(isNone(b));
  }
  const ascending =
    typeof a === 'string' && typeof b === 'string' ? collator.compare(a, b) : Number(a) - Number(b);
  return descending ? -ascending : ascending;
}

const collator = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });

/** The rows in order; equal ones stay as they were. */
export function sorted<Row>(rows: readonly Row[], key: (row: Row) => Key, descending: boolean): Row[] {
  return [...rows].sort((a, b) => compare(key(a), key(b), descending));
}

/** What a click on a column's head makes of the order: that column first, then its other direction. */
export function clicked(order: Order | null, column: string, startsDescending: boolean): Order {
  if (order?.column === column) {
    return { column, descending: !order.descending };
  }
  return { column, descending: startsDescending };
}

/** Whether a text has every word of the filter; `-word` must not be in it. */
export function matches(text: string, filter: string): boolean {
  const lower = text.toLowerCase();
  return filter
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '' && word !== '-')
    .every((word) => (word.startsWith('-') ? !lower.includes(word.slice(1)) : lower.includes(word)));
}
