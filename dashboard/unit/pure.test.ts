// The parts that only compute.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as command from '../src/command';
import { diff, folded } from '../src/diff';
import * as format from '../src/format';
import { hrefTo, parsePlace } from '../src/place';
import { clicked, matches, sorted } from '../src/sort';
import { problemOf, stepOf } from '../src/api/client';
import type { Session } from '../src/api/model';
import { refusalOf } from '../src/shell';

test('what is not known is a dash and never a zero', () => {
  for (const show of [format.count, format.rate, format.percent, format.nines, format.millis, format.seconds, format.bytes]) {
    assert.equal(show(null), '–');
    assert.equal(show(undefined), '–');
    assert.equal(show(Number.NaN), '–');
  }
  assert.equal(format.percent(0), '0');
});

test('numbers keep the digits that mean something', () => {
  const table: [string, string][] = [
    [format.count(9120), '9,120'],
    [format.count(1_240_000), '1.24 M'],
    [format.rate(0), '0'],
    [format.rate(3.14), '3.1'],
    [format.rate(48_210.4), '48,210'],
    [format.percent(0.0004), '<0.01'],
    [format.percent(0.42), '0.42'],
    [format.percent(41.7), '41.7'],
    [format.percent(100), '100'],
    [format.nines(99.99996), '99.9999'],
    [format.nines(99.9583), '99.958'],
    [format.nines(99.9), '99.90'],
    [format.nines(100), '100'],
    [format.millis(0.42), '0.4 ms'],
    [format.millis(37.2), '37 ms'],
    [format.millis(1250), '1.25 s'],
    [format.bytes(812), '812 B'],
    [format.bytes(4200), '4.1 KiB'],
  ];
  for (const [said, expected] of table) {
    assert.equal(said, expected);
  }
});

test('lengths have two units at most', () => {
  const table: [number, string][] = [
    [0.4, '0.4 s'], [0, '0 s'], [42, '42 s'], [59.6, '1 min'], [185, '3 min 5 s'], [7800, '2 h 10 min'], [86_400, '1 d'], [1_051_200, '12 d 4 h'], [-5, '-5 s'],
  ];
  for (const [value, expected] of table) {
    assert.equal(format.seconds(value), expected, String(value));
  }
  assert.equal(format.ago('2026-11-21T10:00:00Z', Date.parse('2026-11-21T13:10:00Z')), '3 h ago');
  assert.equal(format.ago('nonsense'), '–');
});

test('addresses sort as people count, and the unknown comes last in both directions', () => {
  const names = ['10.0.0.10', '10.0.0.9', null, '10.0.0.100'];
  assert.deepEqual(sorted(names, (it) => it, false), ['10.0.0.9', '10.0.0.10', '10.0.0.100', null]);
  assert.deepEqual(sorted(names, (it) => it, true), ['10.0.0.100', '10.0.0.10', '10.0.0.9', null]);
  const pairs = [{ n: 1, at: 'a' }, { n: 0, at: 'b' }, { n: 1, at: 'c' }];
  assert.deepEqual(sorted(pairs, (it) => it.n, true).map((it) => it.at), ['a', 'c', 'b'], 'equal rows stay in their order');
});

test('a second click turns the order around', () => {
  const first = clicked(null, 'rate', true);
  assert.deepEqual(first, { column: 'rate', descending: true });
  assert.deepEqual(clicked(first, 'rate', true), { column: 'rate', descending: false });
  assert.deepEqual(clicked(first, 'name', false), { column: 'name', descending: false });
});

test('a filter has all its words and none with a minus', () => {
  assert.ok(matches('10.0.1.11 down connect refused', 'refused 1.11'));
  assert.ok(!matches('10.0.1.11 down', 'up'));
  assert.ok(!matches('10.0.1.11 down', '-down'));
  assert.ok(matches('anything', ' - '));
});

test('a diff brings one text to the other', () => {
  const texts = ['', 'a\n', 'a\nb\nc\n', 'a\nx\nc\n', 'b\nc\nd\ne\n', 'c\nb\na\n', 'a\na\na\n', 'a\na\n'];
  for (const before of texts) {
    for (const after of texts) {
      const lines = diff(before, after);
      const text = (kinds: string[]): string => lines.filter((line) => kinds.includes(line.kind)).map((line) => `${line.text}\n`).join('');
      assert.equal(text(['same', 'removed']), before);
      assert.equal(text(['same', 'added']), after);
      for (const line of lines.filter((it) => it.old !== null)) {
        assert.equal(before.split('\n')[(line.old ?? 0) - 1], line.text);
      }
      for (const line of lines.filter((it) => it.new !== null)) {
        assert.equal(after.split('\n')[(line.new ?? 0) - 1], line.text);
      }
    }
  }
});

test('a diff is short where little changed', () => {
  const before = Array.from({ length: 200 }, (_none, at) => `line ${at}`).join('\n');
  const shown = folded(diff(before, before.replace('line 100\n', 'line one hundred\n')), 3);
  assert.equal(shown.filter((line) => line.kind === 'added').length, 1);
  assert.equal(shown.filter((line) => line.kind === 'removed').length, 1);
  assert.equal(shown.length, 2 + 6 + 2, 'three lines on either side, and what is left out');
  assert.deepEqual(folded(diff(before, before), 3), []);
});

test('a very long text is still compared', () => {
  const lines = (word: string): string => Array.from({ length: 5000 }, (_none, at) => `${word} ${at}`).join('\n');
  assert.equal(diff(lines('a'), lines('b')).length, 10_000);
});

test('places survive their address, whatever is in them', () => {
  const parts = ['a/b?c#d', '10.0.0.1:80', 'ü %'];
  const place = parsePlace(hrefTo('services', parts, { filter: 'x&y=z', none: '' }));
  assert.deepEqual(place, { page: 'services', parts, query: { filter: 'x&y=z' } });
  assert.equal(parsePlace('#/%E0%A4%A').page, 'overview');
  assert.equal(parsePlace('').page, 'overview');
});

test('a command line is read by a shell as it was meant', () => {
  assert.equal(command.quoted('checkout/10.0.1.10:8080'), 'checkout/10.0.1.10:8080');
  assert.equal(command.quoted("it's; rm -rf /"), "'it'\\''s; rm -rf /'");
  assert.equal(command.quoted('$(id)'), "'$(id)'");
  assert.equal(command.quoted(''), "''");
  assert.equal(command.weight('s', 'e', null), 'mainstay weight s/e --undo');
});

test('a problem says what the node said, and something if it said nothing', () => {
  const problem = problemOf(403, '{"title":"Forbidden","detail":"changes are refused","hint":"use the socket"}');
  assert.deepEqual([problem.message, problem.hint, problem.isMissing], ['changes are refused', 'use the socket', false]);
  assert.equal(problemOf(502, '<html>').message, 'the node answered 502');
  assert.ok(problemOf(404, 'null').isMissing);
});

test('a command says what a button does', () => {
  assert.equal(command.release('a.toml', null, 0, 'n1', ''), 'mainstay config apply a.toml --builds-on 0 --now');
  assert.equal(command.release('a.toml', 4, 60, 'n1', "it's late"), "mainstay config apply a.toml --builds-on 4 --bake 60s --canary n1 --note 'it'\\''s late'");
  assert.equal(command.removeNode('n1', true), 'mainstay cluster remove n1 --two');
});

test('the last step of a release says whether it came about', () => {
  const step = (stage: string): ReturnType<typeof stepOf> =>
    stepOf(JSON.stringify({ event: 'ended', version: 4, said: stage, stage: { name: stage }, nodes: 3, voted: 3, serving: 2 }));
  assert.equal(step('done').isFailure, false);
  assert.equal(step('vetoed').isFailure, true);
  assert.equal(step('done').said, 'version 4: done (3 of 3 nodes have voted, 2 serve it)');
  const failed = stepOf('{"event": "failed", "error": "lost sight of it", "hint": "look"}');
  assert.deepEqual([failed.isFailure, failed.said, failed.hint], [true, 'lost sight of it', 'look']);
});

test('whoever may not change something is told why', () => {
  const session = (role: 'viewer' | 'operator' | 'admin', services: string[] | null = null): Session => ({ user: 'user jo', role, via: 'session', services });
  assert.equal(refusalOf(null, {}), null);
  assert.equal(refusalOf(session('operator'), {}), null);
  assert.match(refusalOf(session('viewer'), {}) ?? '', /^jo may look/);
  assert.match(refusalOf(session('operator'), { least: 'admin' }) ?? '', /takes an admin/);
  assert.equal(refusalOf(session('admin'), { least: 'admin' }), null);
  assert.equal(refusalOf(session('operator', ['shop']), { service: 'shop' }), null);
  assert.match(refusalOf(session('operator', ['shop']), { service: 'mail' }) ?? '', /only change shop/);
  assert.match(refusalOf(session('admin', ['shop']), {}) ?? '', /only change shop/);
});
