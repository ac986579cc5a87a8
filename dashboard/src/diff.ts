// What differs between two texts, line by line.

export interface DiffLine {
  kind: 'same' | 'added' | 'removed' | 'skipped';
  text: string;
  /** Number of the line in the old text, from 1. */
  old: number | null;
  /** Number of the line in the new text, from 1. */
  new: number | null;
}

// The table of the longest common subsequence is rows x columns; beyond this the middle is shown as replaced whole.
const CELLS_MAX = 4_000_000;

/** The lines of both texts, each one the same, added or removed. Lines that were removed come before those in their place. */
export function diff(before: string, after: string): DiffLine[] {
  const [old, now] = [linesOf(before), linesOf(after)];
  let start = 0;
  while (start < old.length && start < now.length && old[start] === now[start]) {
    start += 1;
  }
  let end = 0;
  while (end < old.length - start && end < now.length - start && old[old.length - 1 - end] === now[now.length - 1 - end]) {
    end += 1;
  }
  const lines: DiffLine[] = [];
  const same = (from: number, to: number, shift: number): void => {
    for (let at = from; at < to; at += 1) {
      lines.push({ kind: 'same', text: old[at] ?? '', old: at + 1, new: at + 1 + shift });
    }
  };
  same(0, start, 0);
  lines.push(...middle(old.slice(start, old.length - end), now.slice(start, now.length - end), start));
  same(old.length - end, old.length, now.length - old.length);
  return lines;
}

function linesOf(text: string): string[] {
  const lines = text.split('\n');
  if (lines[lines.length - 1] === '') {
    lines.pop();
  }
  return lines;
}

function middle(old: string[], now: string[], offset: number): DiffLine[] {
  const width = now.length + 1;
  const isSmall = (old.length + 1) * width <= CELLS_MAX;
  const common = new Uint32Array(isSmall ? (old.length + 1) * width : 0);
  if (isSmall) {
    for (let i = old.length - 1; i >= 0; i -= 1) {
      for (let j = now.length - 1; j >= 0; j -= 1) {
        const [down, right] = [common[(i + 1) * width + j] ?? 0, common[i * width + j + 1] ?? 0];
        common[i * width + j] =
          old[i] === now[j] ? (common[(i + 1) * width + j + 1] ?? 0) + 1 : Math.max(down, right);
      }
    }
  }
  const lines: DiffLine[] = [];
  let [i, j] = [0, 0];
  while (i < old.length || j < now.length) {
    if (isSmall && i < old.length && j < now.length && old[i] === now[j]) {
      lines.push({ kind: 'same', text: old[i] ?? '', old: offset + i + 1, new: offset + j + 1 });
      i += 1;
      j += 1;
    } else if (i < old.length && (j >= now.length || !isSmall || goesDown(common, width, i, j))) {
      lines.push({ kind: 'removed', text: old[i] ?? '', old: offset + i + 1, new: null });
      i += 1;
    } else {
      lines.push({ kind: 'added', text: now[j] ?? '', old: null, new: offset + j + 1 });
      j += 1;
    }
  }
  return lines;
}

function goesDown(common: Uint32Array, width: number, i: number, j: number): boolean {
  return (common[(i + 1) * width + j] ?? 0) >= (common[i * width + j + 1] ?? 0);
}

/** The same with only `around` lines beside each change. */
export function folded(lines: readonly DiffLine[], around: number): DiffLine[] {
  const isNear = lines.map((_line, at) =>
    lines.slice(Math.max(0, at - around), at + around + 1).some((line) => line.kind !== 'same'),
  );
  const shown: DiffLine[] = [];
  let skipped = 0;
  lines.forEach((line, at) => {
    if (isNear[at] === true) {
      if (skipped > 0) {
        shown.push(gap(skipped));
      }
      skipped = 0;
      shown.push(line);
    } else {
      skipped += 1;
    }
  });
  return skipped > 0 && shown.length > 0 ? [...shown, gap(skipped)] : shown;
}

function gap(skipped: number): DiffLine {
  return { kind: 'skipped', text: `${skipped} ${skipped === 1 ? 'line' : 'lines'}`, old: null, new: null };
}
