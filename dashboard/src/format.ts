// Numbers, lengths and times as people read them. What is not known is a dash, never a zero.

export const NONE = '–';

type Maybe = number | null | undefined;

function isKnown(value: Maybe): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

/** A count: `12`, `9,120`, `1.24 M`. */
export function count(value: Maybe): string {
  if (!isKnown(value)) {
    return NONE;
  }
  if (Math.abs(value) >= 1e9) {
    return `${(value / 1e9).toFixed(2)} G`;
  }
  if (Math.abs(value) >= 1e6) {
    return `${(value / 1e6).toFixed(2)} M`;
  }
  return Math.round(value).toLocaleString('en-US');
}

/** Requests a second: three digits that mean something. */
export function rate(value: Maybe): string {
  if (!isKnown(value)) {
    return NONE;
  }
  return value > 0 && value < 10 ? value.toFixed(1) : count(value);
}

/** A share: zero is `0`, and what is not zero never looks like it. */
export function percent(value: Maybe): string {
  if (!isKnown(value)) {
    return NONE;
  }
  if (value === 0) {
    return '0';
  }
  if (Math.abs(value) < 0.01) {
    return value < 0 ? '>-0.01' : '<0.01';
  }
  if (Math.abs(value) < 10) {
    return value.toFixed(2);
  }
  return Number.isInteger(value) ? String(value) : value.toFixed(1);
}

/** A share of an objective, where the digits after 99 are what it is about: 99.95, 99.9993. Never rounded up to 100. */
export function nines(value: Maybe): string {
  if (!isKnown(value)) {
    return NONE;
  }
  if (value === 100) {
    return '100';
  }
  const digits = value > 99.99 ? 4 : value > 99 ? 3 : 2;
  const factor = 10 ** digits;
  return (Math.floor(value * factor) / factor).toFixed(digits).replace(/(\.\d\d)0+$/, '$1');
}

/** A length in milliseconds: `0.4 ms`, `37 ms`, `1.25 s`. */
export function millis(value: Maybe): string {
  if (!isKnown(value)) {
    return NONE;
  }
  if (value >= 60_000) {
    return seconds(value / 1000);
  }
  if (value >= 1000) {
    return `${(value / 1000).toFixed(2)} s`;
  }
  return value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}

/** A length in seconds in its two largest units: `0.4 s`, `42 s`, `3 min 5 s`, `2 h 10 min`, `12 d 4 h`. */
export function seconds(value: Maybe): string {
  if (!isKnown(value)) {
    return NONE;
  }
  if (value < 0) {
    return `-${seconds(-value)}`;
  }
  if (value < 10 && !Number.isInteger(value)) {
    return `${value.toFixed(1)} s`;
  }
  const whole = Math.round(value);
  if (whole < 60) {
    return `${whole} s`;
  }
  if (whole < 3600) {
    return twoUnits(Math.floor(whole / 60), 'min', whole % 60, 's');
  }
  if (whole < 86_400) {
    return twoUnits(Math.floor(whole / 3600), 'h', Math.floor((whole % 3600) / 60), 'min');
  }
  return twoUnits(Math.floor(whole / 86_400), 'd', Math.floor((whole % 86_400) / 3600), 'h');
}

function twoUnits(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

/** Bytes: `812 B`, `4.1 KiB`, `2.0 MiB`. */
export function bytes(value: Maybe): string {
  if (!isKnown(value)) {
    return NONE;
  }
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let amount = value;
  let unit = 0;
  while (amount >= 1024 && unit < units.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${amount} B` : `${amount.toFixed(1)} ${units[unit]}`;
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}

/** The time of day where the reader is: `14:03:07`. */
export function clock(time: string | number | null | undefined): string {
  const date = dateOf(time);
  return date === null ? NONE : `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Date and time where the reader is: `2026-11-21 14:03:07`; of today only the time. */
export function moment(time: string | number | null | undefined, now: number = Date.now()): string {
  const date = dateOf(time);
  if (date === null) {
    return NONE;
  }
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return new Date(now).toDateString() === date.toDateString() ? clock(time) : `${day} ${clock(time)}`;
}

/** How long ago: `now`, `12 s ago`, `3 h ago`; only the largest unit, since it is read at a glance. */
export function ago(time: string | number | null | undefined, now: number = Date.now()): string {
  const date = dateOf(time);
  if (date === null) {
    return NONE;
  }
  const past = (now - date.getTime()) / 1000;
  return past < 1 ? 'now' : `${largest(past)} ago`;
}

/** A length in its largest unit. */
export function largest(value: number): string {
  const units: [number, string][] = [
    [86_400, 'd'],
    [3600, 'h'],
    [60, 'min'],
  ];
  const found = units.find(([length]) => value >= length);
  return found === undefined ? `${Math.floor(value)} s` : `${Math.floor(value / found[0])} ${found[1]}`;
}

function dateOf(time: string | number | null | undefined): Date | null {
  if (time === null || time === undefined || time === '') {
    return null;
  }
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? null : date;
}
