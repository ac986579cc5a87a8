// The configuration that the nodes of a cluster share: what is served where, how far a release is, what differs, and back.

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { ask, Problem } from '../api/client';
import type { ConfigHistory, ConfigOverview, ConfigText, ConfigVersion } from '../api/model';
import { usePolled } from '../api/poll';
import * as command from '../command';
import { diff, folded } from '../diff';
import { bytes, count, millis, moment } from '../format';
import { Failure, Mark, Section } from '../parts/bits';
import { Table, type Column } from '../parts/table';
import { useShell, type Action } from '../shell';

export function Configuration(): JSX.Element | null {
  const overview = usePolled<ConfigOverview>('/config');
  const history = usePolled<ConfigHistory>('/config/versions', 3000);
  const { propose } = useShell();
  const [shown, setShown] = useState<number | null>(null);
  if (overview.value === null) {
    return null;
  }
  const versions = history.value?.versions ?? [];
  const current = history.value?.current ?? overview.value.current;
  return (
    <>
      <Section title="Configuration" side={<Release overview={overview.value} propose={propose} />}>
        <Table
          name="Configuration by node"
          columns={NODES}
          rows={overview.value.nodes}
          rowKey={(row) => row.node}
          empty="No node has reported yet."
        />
      </Section>
      <Section title="Versions">
        <Table
          name="Versions of the configuration"
          columns={versionsFor(current, propose)}
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

function previousOf(versions: ConfigVersion[], version: number): number | null {
  const older = versions.map((it) => it.version).filter((it) => it < version);
  return older.length === 0 ? null : Math.max(...older);
}

function Release(props: { overview: ConfigOverview; propose: (action: Action) => void }): JSX.Element {
  const { release, current } = props.overview;
  if (release === null) {
    return <span class="quiet">no release</span>;
  }
  const isOver = release.version === current || /done|rolled back|vetoed|aborted/i.test(release.said);
  return (
    <span>
      version {release.version}: {release.said}, {millis(release.elapsed_ms)}, {release.serving} of {release.nodes} nodes serve it{' '}
      {!isOver && (
        <button type="button" class="danger" onClick={() => props.propose(abortion(release.version, release.from))}>
          Abort
        </button>
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
  { id: 'node', title: 'Node', key: (it) => it.node, cell: (it) => it.node },
  { id: 'serves', title: 'Serves', isNumber: true, key: (it) => it.serves, cell: (it) => versionOf(it.serves) },
  { id: 'wanted', title: 'Should serve', isNumber: true, key: (it) => it.wanted, cell: (it) => versionOf(it.wanted) },
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

function versionsFor(current: number | null, propose: (action: Action) => void): Column<ConfigVersion>[] {
  return [
    {
      id: 'version', title: 'Version', isNumber: true, width: '5.5rem', key: (it) => it.version,
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
            <button type="button" aria-label={`roll back to version ${it.version}`} onClick={() => propose(rollback(it.version))}>
              roll back
            </button>
          </span>
        ),
    },
  ];
}

function rollback(version: number): Action {
  return {
    title: `Roll back to version ${version}`,
    effect: 'The text of that version is released as a new one: checked by every node, served by one, then by all.',
    harm: 'All nodes change what they serve.',
    command: () => command.rollBack(version),
    request: () => ({ path: '/config/rollback', method: 'POST', body: { version, author: 'dashboard' } }),
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
