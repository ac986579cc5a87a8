// Whether users are served by the whole cluster: what all of its nodes count, added up, and what each makes of its endpoints.

import type { JSX } from 'preact';
import type { NodeOverview, ServiceOverview, ServiceSeen, Together } from '../api/model';
import { usePolled, type Polled } from '../api/poll';
import { count, millis, percent, rate, seconds } from '../format';
import { Facts, Instead, Mark, Section, Tile } from '../parts/bits';
import { HistoryCharts } from '../parts/history';
import { Covered, ScopeSwitch } from '../parts/scope';
import { Table, type Column } from '../parts/table';
import { hrefTo } from '../place';
import { urgency, type Level } from '../standing';

const CLUSTER = { scope: 'cluster' };

function useTogether(): Polled<Together> {
  return usePolled<Together>('/overview?scope=cluster');
}

export function ClusterOverview(): JSX.Element {
  const together = useTogether();
  return (
    <>
      <ScopeSwitch scope="cluster" hrefFor={(query) => hrefTo('overview', [], query)} />
      <Covered polled={together} />
      {together.value === null ? <Instead polled={together} what="numbers of a whole cluster" /> : <Sums together={together.value} />}
    </>
  );
}

function Sums(props: { together: Together }): JSX.Element {
  const { services, nodes, coverage } = props.together;
  const rows: NodeRow[] = [...nodes.map((node) => ({ name: node.name, node, why: node.verdict })), ...coverage.missing.map((it) => ({ name: it.name, node: null, why: it.reason }))];
  return (
    <>
      <Verdict together={props.together} />
      <Tiles together={props.together} />
      <Section title="Services">
        <Table
          name="Services of the cluster"
          columns={SERVICES}
          rows={services}
          rowKey={(row) => row.name}
          order={{ column: 'state', descending: false }}
          level={(row) => stateOf(row.seen).level}
          onOpen={(row) => {
            location.hash = hrefTo('services', [row.name], CLUSTER);
          }}
          empty="No node has a service."
        />
      </Section>
      <Section title="Nodes">
        <Table name="Nodes of the cluster" columns={NODES} rows={rows} rowKey={(row) => row.name} level={levelOfNode} empty="No node answers." />
      </Section>
    </>
  );
}

function Verdict(props: { together: Together }): JSX.Element {
  const { services, nodes, coverage } = props.together;
  const [all, here] = [nodes.length + coverage.missing.length, nodes.filter((it) => it.ready).length];
  const ill = services.filter((it) => stateOf(it.seen).level !== 'good').map((it) => `${it.name} is ${stateOf(it.seen).word}`);
  const level = services.some((it) => stateOf(it.seen).level === 'bad') || here === 0 ? 'bad' : ill.length > 0 || here < all ? 'warn' : 'good';
  const words = [`${count(here)} of ${count(all)} nodes are ready`, ...(ill.length > 0 ? ill.slice(0, 3) : ['every node finds every service healthy'])];
  return (
    <h1 class={`verdict banner ${level}`} aria-live="polite">
      <Mark level={level}>{words.join('; ')}</Mark>
    </h1>
  );
}

function Tiles(props: { together: Together }): JSX.Element {
  const { services, nodes, span_seconds: span } = props.together;
  const sum = nodes.reduce((all, it) => all + it.rate, 0);
  const failed = nodes.reduce((all, it) => all + (it.rate * (it.error_percent ?? 0)) / 100, 0);
  const errors = sum > 0 ? (failed * 100) / sum : null;
  const slowest = [...services].filter((it) => it.p99_ms !== null).sort((a, b) => (b.p99_ms ?? 0) - (a.p99_ms ?? 0))[0];
  const versions = [...new Set(nodes.map((it) => it.version))];
  const over = `over ${span} s`;
  return (
    <div class="tiles">
      <Tile title="Requests" value={rate(sum)} unit="/s" note={over} />
      <Tile title="Errors" value={percent(errors)} unit="%" note={over} level={(errors ?? 0) >= 1 ? 'bad' : (errors ?? 0) > 0 ? 'warn' : null} />
      <Tile title="p99, slowest service" value={millis(slowest?.p99_ms)} note={slowest?.name ?? ''} />
      <Tile title="Versions" value={count(versions.length)} note={versions.join(', ')} level={versions.length > 1 ? 'warn' : null} href={hrefTo('cluster')} />
    </div>
  );
}

/** What all nodes together make of a service: they differ where only some of them reach it. */
function stateOf(seen: ServiceSeen[]): { word: string; level: Level } {
  const ill = seen.filter((it) => it.state !== 'healthy');
  if (ill.length === 0) {
    return { word: 'healthy', level: 'good' };
  }
  const worst = ill.some((it) => it.state === 'down') ? 'down' : 'degraded';
  return ill.length === seen.length
    ? { word: worst, level: worst === 'down' ? 'bad' : 'warn' }
    : { word: `${worst} at ${ill.map((it) => it.node).join(', ')}`, level: 'warn' };
}

const serving = (it: ServiceSeen): string => `${count(it.eligible)} of ${count(it.endpoints)}`;

const SERVICES: Column<ServiceOverview>[] = [
  { id: 'name', title: 'Service', key: (it) => it.name, cell: (it) => <a href={hrefTo('services', [it.name], CLUSTER)}>{it.name}</a> },
  { id: 'state', title: 'State', key: (it) => urgency(stateOf(it.seen).level), cell: (it) => <Mark level={stateOf(it.seen).level}>{stateOf(it.seen).word}</Mark> },
  { id: 'seen', title: 'Serving, by node', hide: 'phone', cell: (it) => it.seen.map((seen) => `${seen.node} ${serving(seen)}`).join('; ') },
  { id: 'rate', title: 'req/s', isNumber: true, width: '6rem', key: (it) => it.rate, cell: (it) => rate(it.rate) },
  { id: 'errors', title: 'errors %', isNumber: true, width: '6rem', key: (it) => it.error_percent, cell: (it) => percent(it.error_percent) },
  { id: 'p50', title: 'p50', isNumber: true, width: '6rem', hide: 'small', key: (it) => it.p50_ms, cell: (it) => millis(it.p50_ms) },
  { id: 'p99', title: 'p99', isNumber: true, width: '6rem', hide: 'phone', key: (it) => it.p99_ms, cell: (it) => millis(it.p99_ms) },
];

interface NodeRow {
  name: string;
  /** Null of a node that does not answer. */
  node: NodeOverview | null;
  why: string;
}

function levelOfNode({ node }: NodeRow): Level {
  return node === null || !node.ready ? 'bad' : 'good';
}

const NODES: Column<NodeRow>[] = [
  { id: 'name', title: 'Node', width: '7rem', key: (it) => it.name, cell: (it) => it.name },
  {
    id: 'state', title: 'State', key: (it) => urgency(levelOfNode(it)),
    cell: (it) => (
      <span class="why" title={it.why}>
        <Mark level={levelOfNode(it)}>{it.node === null ? 'not in the sum' : it.node.ready ? 'ready' : 'not ready'}</Mark> <span class="hide-phone">{it.why}</span>
      </span>
    ),
  },
  { id: 'rate', title: 'req/s', isNumber: true, width: '6rem', key: (it) => it.node?.rate, cell: (it) => rate(it.node?.rate) },
  { id: 'errors', title: 'errors %', isNumber: true, width: '6rem', key: (it) => it.node?.error_percent, cell: (it) => percent(it.node?.error_percent) },
  { id: 'version', title: 'Version', width: '6rem', hide: 'phone', key: (it) => it.node?.version, cell: (it) => it.node?.version ?? '' },
  { id: 'uptime', title: 'Up', width: '6rem', hide: 'small', key: (it) => it.node?.uptime_seconds, cell: (it) => (it.node === null ? '' : seconds(it.node.uptime_seconds)) },
];

/** One service over all nodes. What is done to an endpoint is done at a node, which is where its endpoints are shown. */
export function ClusterService(props: { name: string }): JSX.Element {
  const together = useTogether();
  const service = together.value?.services.find((it) => it.name === props.name) ?? null;
  return (
    <>
      <h1 class="verdict">
        <a href={hrefTo('overview', [], CLUSTER)}>Whole cluster</a> / {props.name} {service !== null && <Mark level={stateOf(service.seen).level}>{stateOf(service.seen).word}</Mark>}
      </h1>
      <ScopeSwitch scope="cluster" hrefFor={(query) => hrefTo('services', [props.name], query)} />
      <Covered polled={together} />
      {together.value === null && <Instead polled={together} what="numbers of a whole cluster" />}
      {together.value !== null && service === null && <p>No node has a service {props.name}.</p>}
      {service !== null && (
        <>
          <Facts facts={[['req/s', rate(service.rate)], ['errors %', percent(service.error_percent)], ['p50', millis(service.p50_ms)], ['p99', millis(service.p99_ms)]]} />
          <HistoryCharts kind="service" name={props.name} scope="cluster" />
          <Section title="As each node finds it">
            <Table name={`${props.name}, node by node`} columns={SEEN} rows={service.seen} rowKey={(row) => row.node} level={(row) => stateOf([row]).level} empty="No node has it." />
          </Section>
        </>
      )}
    </>
  );
}

const SEEN: Column<ServiceSeen>[] = [
  { id: 'node', title: 'Node', key: (it) => it.node, cell: (it) => it.node },
  { id: 'state', title: 'State', key: (it) => urgency(stateOf([it]).level), cell: (it) => <Mark level={stateOf([it]).level}>{it.state}</Mark> },
  { id: 'up', title: 'Serving', isNumber: true, key: (it) => it.eligible, cell: serving },
];
