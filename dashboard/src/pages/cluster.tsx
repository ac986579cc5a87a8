// Who belongs to the cluster, who holds what, and which configuration is served where.

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { ask } from '../api/client';
import type { Address, Cluster as Shape, Member, Role } from '../api/model';
import { usePolled, type Polled } from '../api/poll';
import * as command from '../command';
import { count, seconds } from '../format';
import { ActionButton, Facts, Instead, Mark, Section } from '../parts/bits';
import { Table, type Column } from '../parts/table';
import type { Action } from '../shell';
import type { Level } from '../standing';
import { Configuration } from './configuration';

const LEASES_MS = 2000;

export function Cluster(): JSX.Element {
  const cluster = usePolled<Shape>('/cluster');
  const addresses = usePolled<Address[]>('/addresses');
  const leases = useLeases(cluster.value);
  if (cluster.value === null) {
    return <NoCluster cluster={cluster} />;
  }
  const it = cluster.value;
  const level = it.quorum === null ? 'warn' : it.quorum ? 'good' : 'bad';
  return (
    <>
      <h1 class={`verdict banner ${level}`} aria-live="polite">
        <Mark level={level}>{quorumOf(it)}</Mark>
      </h1>
      <Facts
        facts={[
          ['Engine', it.engine],
          ['Leader', it.leader ?? 'unknown'],
          ['Term', count(it.term)],
          ['Revision', count(it.revision)],
          ["This node's lease", it.session ? `${seconds(it.session.seconds_left)} left` : 'none'],
          ['Certificate', typeof it.certificate_seconds_left === 'number' ? `${seconds(it.certificate_seconds_left)} left` : 'none'],
        ]}
      />
      {it.failure !== undefined && <p class="failure">{it.failure}</p>}
      <Section title="Nodes">
        <Table name="Nodes" columns={membersFor(it)} rows={it.members} rowKey={(row) => String(row.id)} level={memberLevel} empty={`With ${it.engine} the members are not kept here.`} />
      </Section>
      {it.roles !== undefined && (
        <Section title="Roles">
          <Table name="Roles" columns={ROLES} rows={withLeases(it.roles, leases)} rowKey={(row) => row.role} empty="No role is held." />
        </Section>
      )}
      {(addresses.value ?? []).length > 0 && (
        <Section title="Floating addresses">
          <Table name="Floating addresses" columns={ADDRESSES} rows={addresses.value ?? []} rowKey={(row) => row.ip} level={addressLevel} empty="None." />
        </Section>
      )}
      <Configuration />
    </>
  );
}

type Leases = Record<string, Role[]>;

/** What the holders of roles say themselves: only they know how long their leases have yet. */
function useLeases(cluster: Shape | null): Leases {
  const [leases, setLeases] = useState<Leases>({});
  const others = (cluster?.roles ?? []).flatMap((it) => (it.node === null || it.node === cluster?.node ? [] : [it.node]));
  const holders = [...new Set(others)].sort().join();
  useEffect(() => {
    let isOver = false;
    const look = async (): Promise<void> => {
      const asked = holders.split(',').filter((name) => name !== '');
      const found = await Promise.all(
        asked.map(async (name): Promise<[string, Role[]]> => {
          const answer = await ask<Shape>(`/nodes/${encodeURIComponent(name)}/cluster`).catch(() => null);
          return [name, answer?.roles ?? []];
        }),
      );
      if (!isOver) {
        setLeases(Object.fromEntries(found));
      }
    };
    void look();
    const timer = setInterval(() => void (document.hidden ? undefined : look()), LEASES_MS);
    return () => {
      isOver = true;
      clearInterval(timer);
    };
  }, [holders]);
  return leases;
}

function withLeases(roles: Role[], leases: Leases): Role[] {
  return roles.map((role) => {
    const said = role.node === null ? undefined : leases[role.node]?.find((it) => it.role === role.role && it.token === role.token);
    return { ...role, seconds_left: role.seconds_left ?? said?.seconds_left ?? null };
  });
}

function NoCluster(props: { cluster: Polled<Shape> }): JSX.Element {
  const { problem } = props.cluster;
  if (problem === null || !(problem.isMissing || problem.status === 409)) {
    return <Instead polled={props.cluster} what="cluster" />;
  }
  return (
    <>
      <h1 class="verdict">This node is in no cluster</h1>
      <p class="quiet">It serves its own file and holds no role.</p>
    </>
  );
}

function quorumOf(it: Shape): string {
  if (it.quorum === null) {
    return 'whether a majority is there is not known yet';
  }
  const since = ` for ${seconds(it.quorum_seconds)}`;
  return it.quorum ? `a majority is there${since}` : `NO MAJORITY${since}: ${it.quorum_reason ?? ''}`;
}

function memberLevel(it: Member): Level {
  return it.state === 'down' ? 'bad' : it.state === 'unknown' ? 'warn' : 'good';
}

function addressLevel(it: Address): Level {
  return it.holder === null ? 'bad' : it.problem !== null ? 'warn' : 'good';
}

function membersFor(cluster: Shape): Column<Member>[] {
  return [
    { id: 'name', title: 'Node', width: '14rem', key: (it) => it.name, cell: (it) => (it.state === 'here' ? <b title="this node">{it.name}</b> : it.name) },
    { id: 'role', title: 'Part', width: '6rem', key: (it) => it.role, cell: (it) => it.role },
    {
      id: 'state', title: 'State', key: (it) => it.state,
      cell: (it) => (
        <span class="why" title={it.reason ?? ''}>
          <Mark level={memberLevel(it)}>{it.state}</Mark> {it.reason ?? ''}
        </span>
      ),
    },
    { id: 'lag', title: 'Behind', isNumber: true, width: '5rem', hide: 'phone', title_hint: 'entries of the log, as the leader sees it', key: (it) => it.lag ?? null, cell: (it) => count(it.lag) },
    { id: 'address', title: 'Address', width: '12rem', hide: 'phone', key: (it) => it.address, cell: (it) => it.address },
    {
      id: 'actions', title: 'Actions', width: '7rem',
      cell: (it) =>
        it.state === 'here' ? null : (
          <span class="actions">
            <ActionButton action={removal(cluster, it)} word="remove" label={`remove ${it.name}`} />
          </span>
        ),
    },
  ];
}

function removal(cluster: Shape, member: Member): Action {
  const voters = cluster.members.filter((it) => it.role === 'leader' || it.role === 'voter');
  const isVoter = voters.some((it) => it.id === member.id);
  // Both of two are needed for everything: the cluster is then worse off than with one, and wants to be told that this is meant.
  const leavesTwo = isVoter && voters.length === 3;
  const votes = isVoter ? ` ${voters.length - 1} of ${voters.length} voters are left.` : '';
  const harms = [
    ...(member.state === 'up' ? ['It is up: what it holds goes to other nodes.'] : []),
    ...(leavesTwo ? ['Two voters are left: nothing is decided while either of them is away.'] : []),
  ];
  return {
    title: `Remove ${member.name}`,
    least: 'admin',
    effect: `It leaves the cluster and its certificate is refused from then on. To come back it has to join anew.${votes}`,
    harm: harms.length === 0 ? null : harms.join(' '),
    command: () => command.removeNode(member.name, leavesTwo),
    request: () => ({ path: '/cluster/remove', method: 'POST', body: { name: member.name, ...(leavesTwo ? { two: true } : {}) } }),
  };
}

const ROLES: Column<Role>[] = [
  { id: 'role', title: 'Role', key: (it) => it.role, cell: (it) => it.role },
  { id: 'node', title: 'Held by', key: (it) => it.node, cell: (it) => it.node ?? <Mark level="warn">nobody</Mark> },
  { id: 'token', title: 'Fencing token', isNumber: true, width: '10rem', hide: 'phone', key: (it) => it.token ?? null, cell: (it) => count(it.token) },
  { id: 'left', title: 'Lease left', isNumber: true, width: '10rem', title_hint: 'as its holder says', key: (it) => it.seconds_left ?? null, cell: (it) => seconds(it.seconds_left) },
];

const ADDRESSES: Column<Address>[] = [
  { id: 'ip', title: 'Address', width: '11rem', key: (it) => it.ip, cell: (it) => it.ip },
  {
    id: 'holder', title: 'Held by', key: (it) => it.holder,
    cell: (it) => (
      <span class="why" title={it.problem ?? ''}>
        <Mark level={addressLevel(it)}>{it.holder ?? 'nobody'}</Mark> {it.problem ?? ''}
      </span>
    ),
  },
  { id: 'belongs', title: 'Belongs to', hide: 'phone', key: (it) => it.belongs, cell: (it) => it.belongs ?? '' },
  { id: 'candidates', title: 'Can hold it', hide: 'small', cell: (it) => it.candidates.join(', ') },
  { id: 'interface', title: 'Interface', hide: 'small', width: '7rem', key: (it) => it.interface, cell: (it) => it.interface ?? 'listeners' },
  {
    id: 'actions', title: 'Actions', width: '10rem',
    cell: (it) => (
      <span class="actions">
        {it.candidates
          .filter((node) => node !== it.holder)
          .slice(0, 2)
          .map((node) => (
            <ActionButton key={node} action={move(it, node)} word={`to ${node}`} label={`move ${it.ip} to ${node}`} />
          ))}
      </span>
    ),
  },
];

function move(address: Address, node: string): Action {
  return {
    title: `Move ${address.ip} to ${node}`,
    effect: `It stays there until that node fails, whatever the configuration prefers.`,
    harm: address.holder === null ? null : `Connections that are open on it at ${address.holder} are drained, then ended.`,
    command: () => command.moveAddress(address.ip, node),
    request: () => ({ path: '/addresses', method: 'POST', body: { ip: address.ip, node } }),
  };
}
