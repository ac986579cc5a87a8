// All services, or one of them.

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Service as Shape } from '../api/model';
import { count, millis, percent, rate } from '../format';
import { Filter, Instead, Mark, Section } from '../parts/bits';
import { scopeOf } from '../parts/scope';
import { Table, type Column } from '../parts/table';
import { hrefTo } from '../place';
import { useShell } from '../shell';
import { matches } from '../sort';
import { levelOf, urgency } from '../standing';
import { Service } from './service';
import { ClusterService } from './together';

export function Services(props: { parts: string[]; query: Record<string, string> }): JSX.Element | null {
  const { status } = useShell();
  const [filter, setFilter] = useState('');
  const [name, endpoint] = props.parts;
  if (status.value === null) {
    return <Instead polled={status} what="status" />;
  }
  if (name !== undefined && scopeOf(props.query) === 'cluster') {
    return <ClusterService key={name} name={name} />;
  }
  if (name !== undefined) {
    const service = status.value.services.find((it) => it.name === name);
    return service === undefined ? (
      <p>
        There is no service {name} here. <a href={hrefTo('services')}>All services</a>
      </p>
    ) : (
      <Service key={name} service={service} endpoint={endpoint ?? null} filter={props.query.filter ?? ''} />
    );
  }
  const rows = status.value.services.filter((it) => matches(`${it.name} ${it.state}`, filter));
  return (
    <Section title="Services" side={<Filter value={filter} onInput={setFilter} label="Filter services" />}>
      <Table
        name="Services"
        columns={COLUMNS}
        rows={rows}
        rowKey={(row) => row.name}
        level={levelOf}
        onOpen={(row) => {
          location.hash = hrefTo('services', [row.name]);
        }}
        empty="No service is like that."
      />
    </Section>
  );
}

const COLUMNS: Column<Shape>[] = [
  { id: 'name', title: 'Service', key: (it) => it.name, cell: (it) => <a href={hrefTo('services', [it.name])}>{it.name}</a> },
  { id: 'state', title: 'State', width: '8rem', key: (it) => urgency(levelOf(it)), cell: (it) => <Mark level={levelOf(it)}>{it.state}</Mark> },
  { id: 'up', title: 'Serving', isNumber: true, width: '7rem', key: (it) => it.eligible, cell: (it) => `${count(it.eligible)} of ${count(it.endpoints.length)}` },
  { id: 'rate', title: 'req/s', isNumber: true, width: '5.5rem', key: (it) => it.activity?.rate, cell: (it) => rate(it.activity?.rate) },
  { id: 'errors', title: 'errors %', isNumber: true, width: '5.5rem', hide: 'phone', key: (it) => it.activity?.error_percent, cell: (it) => percent(it.activity?.error_percent) },
  { id: 'p99', title: 'p99', isNumber: true, width: '5.5rem', hide: 'phone', key: (it) => it.activity?.p99_ms, cell: (it) => millis(it.activity?.p99_ms) },
  { id: 'empty', title: 'Unserved', isNumber: true, width: '6rem', hide: 'small', title_hint: 'requests answered 503 because no endpoint was eligible', key: (it) => it.empty_responses, cell: (it) => count(it.empty_responses) },
];
