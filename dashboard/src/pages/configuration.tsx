// The configuration that the nodes of a cluster share: what is served where, how far a release is, what differs, and back.

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { ask, Problem } from '../api/client';
import type { ConfigHistory, ConfigOverview, ConfigText, ConfigVersion } from '../api/model';
import { usePolled } from '../api/poll';
import * as command from '../command';
import { diff, folded } from '../diff';
import { bytes, count, millis, moment } from '../format';
import { ActionButton, Failure, Mark, Section } from '../parts/bits';
import { Table, type Column } from '../parts/table';
import { nameOf, refusalOf, useShell, type Action, type Field, type Values } from '../shell';
import type { Level } from '../standing';

export function Configuration(): JSX.Element | null {
  const overview = usePolled<ConfigOverview>('/config');
  const history = usePolled<ConfigHistory>('/config/versions', 3000);
  const { session, propose } = useShell();
  const author = session === null ? 'dashboard' : nameOf(session);
  const [shown, setShown] = useState<number | null>(null);
  if (overview.value === null) {
    return null;
  }
  const versions = history.value?.versions ?? [];
  const current = history.value?.current ?? overview.value.current;
  return (
    <>
      <Section title="Configuration" side={<Release overview={overview.value} />}>
        <Table
          name="Configuration by node"
          columns={NODES}
          rows={overview.value.nodes}
          rowKey={(row) => row.node}
          empty="No node has reported yet."
        />
      </Section>
      <Section title="Versions" side={<Stage author={author} current={current} propose={propose} />}>
        <Table
          name="Versions of the configuration"
          columns={versionsFor(current, overview.value.current, author)}
          rows={versions}
          rowKey={(row) => String(row.version)}
          order={{ column: 'version', descending: true }}
          selected={shown === null ? null : String(shown)}
          onOpen={(row) => setShown(row.version === shown ? null : row.version)}
          empty="Every node serves its own file: nothing has been released."
        />
      </Section>
      {shown !== null && <Difference key={shown} version={shown} before={previousOf(versions, shown)} />}
    </>
  );
}

/** The button that asks for the text that is served now, to begin with that. */
function Stage(props: { author: string; current: number | null; propose: (action: Action) => void }): JSX.Element {
  const { session } = useShell();
  const open = async (): Promise<void> => {
    const mayRead = session === null || session.role === 'admin';
    // Asked for now: what the page shows may be some seconds old, and the change would be refused.
    const current = await ask<ConfigOverview>('/config').then((it) => it.current, () => props.current);
    const shown = current !== null && mayRead ? await ask<ConfigText>('/config/versions/current').catch(() => null) : null;
    props.propose(stage(shown?.text ?? '', shown?.meta.version ?? current, props.author));
  };
  return (
    <button type="button" class={refusalOf(session, { least: 'admin' }) === null ? '' : 'cannot'} onClick={() => void open()}>
      Stage a new version
    </button>
  );
}

function previousOf(versions: ConfigVersion[], version: number): number | null {
  const older = versions.map((it) => it.version).filter((it) => it < version);
  return older.length === 0 ? null : Math.max(...older);
}

/** The stages after which nothing comes. */
const LEVELS: Record<string, Level> = { done: 'good', vetoed: 'bad', 'rolled-back': 'bad' };

function Release(props: { overview: ConfigOverview }): JSX.Element {
  const { release } = props.overview;
  if (release === null) {
    return <span class="quiet">no release</span>;
  }
  const level = LEVELS[release.stage.name];
  const isOver = level !== undefined;
  return (
    <span class="release">
      <span>
        <Mark level={level ?? 'warn'}>
          version {release.version}: {release.said}
        </Mark>
        <span class="quiet">
          , {millis(release.elapsed_ms)}, {release.serving} of {release.nodes} nodes serve it
        </span>
      </span>
      {!isOver && (
        <ActionButton action={abortion(release.version, release.from)} word="Abort" isDanger />
      )}
    </span>
  );
}

function abortion(version: number, from: number): Action {
  return {
    title: `Abort the release of version ${version}`,
    effect: `All nodes go back to version ${from}.`,
    command: command.abortRelease,
    request: () => ({ path: '/config/abort', method: 'POST', body: {} }),
  };
}

const NODES: Column<ConfigOverview['nodes'][number]>[] = [
  { id: 'node', title: 'Node', width: '14rem', key: (it) => it.node, cell: (it) => it.node },
  { id: 'serves', title: 'Serves', isNumber: true, width: '10rem', key: (it) => it.serves, cell: (it) => versionOf(it.serves) },
  { id: 'wanted', title: 'Should serve', isNumber: true, width: '10rem', key: (it) => it.wanted, cell: (it) => versionOf(it.wanted) },
  {
    id: 'vote', title: 'Vote', cell: (it) => {
      const veto = typeof it.vote === 'object' && it.vote !== null && 'Veto' in it.vote ? String((it.vote as { Veto: unknown }).Veto) : null;
      if (it.failure !== undefined) {
        return <Mark level="bad">{it.failure}</Mark>;
      }
      return veto === null ? (it.vote === undefined ? '' : 'accepts') : <Mark level="bad">{`veto: ${veto}`}</Mark>;
    },
  },
];

function versionOf(version: number | null): string {
  return version === 0 ? 'own file' : count(version);
}

/** `seen`: the current version as it was last asked for, which is asked more often. */
function versionsFor(current: number | null, seen: number | null, author: string): Column<ConfigVersion>[] {
  return [
    {
      id: 'version', title: 'Version', isNumber: true, width: '6.5rem', key: (it) => it.version,
      cell: (it) => (it.version === current ? <b>{it.version} ●</b> : it.version),
    },
    { id: 'written', title: 'Written', width: '12rem', key: (it) => it.written_unix_ms, cell: (it) => moment(it.written_unix_ms) },
    { id: 'author', title: 'By', hide: 'phone', width: '8rem', key: (it) => it.author, cell: (it) => it.author },
    { id: 'note', title: 'Note', hide: 'phone', key: (it) => it.note, cell: (it) => it.note },
    { id: 'outcome', title: 'Outcome', key: (it) => it.outcome ?? null, cell: (it) => it.outcome ?? '' },
    { id: 'bytes', title: 'Size', isNumber: true, hide: 'small', width: '6rem', key: (it) => it.bytes, cell: (it) => bytes(it.bytes) },
    {
      id: 'actions', title: 'Actions', width: '8rem',
      cell: (it) =>
        it.version === current ? null : (
          <span class="actions">
            <ActionButton action={rollback(it.version, seen, author)} word="roll back" label={`roll back to version ${it.version}`} />
          </span>
        ),
    },
  ];
}

/** How long one node serves a version alone, and of which only whole seconds are asked for. */
const BAKE: Field = { name: 'bake', label: 'Seconds that one node serves it alone (0: all at once)', kind: 'number', initial: '60', min: 0, max: 86_400 };

function bakeOf(values: Values): number {
  return Number(values.bake ?? '60');
}

function termsOf(seconds: number, canary: string): unknown {
  return { bake: seconds === 0 ? null : { secs: seconds, nanos: 0 }, ...(canary === '' || seconds === 0 ? {} : { canary }) };
}

/** The version that a change builds on: it is refused if another one is current by then. */
function tagOf(current: number | null): string {
  return `"${current ?? 0}"`;
}

function rollback(version: number, current: number | null, author: string): Action {
  return {
    title: `Roll back to version ${version}`,
    effect: 'The text of that version is released as a new one: checked by every node, served by one, then by all.',
    harm: 'All nodes change what they serve.',
    fields: [BAKE],
    command: (values) => command.rollBack(version, bakeOf(values)),
    request: (values) => ({
      path: '/config/rollback',
      method: 'POST',
      body: { version, author, terms: termsOf(bakeOf(values), '') },
      version: tagOf(current),
    }),
  };
}

const FILE = 'mainstay.toml';

/** A new text, released in stages. `before` is what the nodes serve now, version `current`; empty if they serve their own files. */
function stage(before: string, current: number | null, author: string): Action {
  const canaryOf = (values: Values): string => (values.canary ?? '').trim();
  return {
    title: 'Stage a new version',
    effect: 'Every node checks it and may veto it. Then one serves it alone; if its clients see more errors, it goes back by itself.',
    harm: 'All nodes change what they serve.',
    least: 'admin',
    fields: [
      { name: 'text', label: `The configuration (${FILE} of the command)`, kind: 'lines', initial: before },
      { name: 'note', label: 'Why', kind: 'text', initial: '', optional: true },
      BAKE,
      { name: 'canary', label: 'Which node serves it first (empty: one with enough traffic)', kind: 'text', initial: '', optional: true },
    ],
    preview: (values) => <Lines before={before} after={values.text ?? ''} />,
    command: (values) => command.release(FILE, current, bakeOf(values), canaryOf(values), values.note ?? ''),
    request: (values) => ({
      path: '/config',
      method: 'POST',
      body: { text: values.text ?? '', author, note: values.note ?? '', terms: termsOf(bakeOf(values), canaryOf(values)) },
      version: tagOf(current),
    }),
  };
}

type Texts = { before: string; after: string } | { problem: Problem } | null;

function Difference(props: { version: number; before: number | null }): JSX.Element {
  const [texts, setTexts] = useState<Texts>(null);
  useEffect(() => {
    const text = async (version: number | null): Promise<string> =>
      version === null ? '' : (await ask<ConfigText>(`/config/versions/${version}`)).text;
    Promise.all([text(props.before), text(props.version)])
      .then(([before, after]) => setTexts({ before, after }))
      .catch((error: unknown) => setTexts({ problem: error instanceof Problem ? error : new Problem(0, String(error)) }));
  }, [props.version, props.before]);
  const title = props.before === null ? `Version ${props.version}` : `From version ${props.before} to ${props.version}`;
  return (
    <Section title={title}>
      {texts === null && <p class="quiet">Asking the node…</p>}
      {texts !== null && 'problem' in texts && <Failure problem={texts.problem} />}
      {texts !== null && 'before' in texts && <Lines {...texts} />}
    </Section>
  );
}

const SIGN = { same: ' ', added: '+', removed: '-', skipped: '⋯' };

function Lines(props: { before: string; after: string }): JSX.Element {
  const lines = folded(diff(props.before, props.after), 3);
  if (lines.length === 0) {
    return <p class="quiet">Both texts are the same.</p>;
  }
  return (
    <pre class="diff" tabIndex={0}>
      {lines.map((line, at) => (
        <div key={at} class={line.kind}>
          <span class="quiet" aria-hidden="true">{String(line.new ?? line.old ?? '').padStart(4)} </span>
          {SIGN[line.kind]} {line.text}
        </div>
      ))}
    </pre>
  );
}
