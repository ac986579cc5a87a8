// How old what is shown is.

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { Polled } from '../api/poll';
import { seconds } from '../format';

// Two missed answers: whoever looks at older numbers has to know.
const STALE_S = 3;

/** How old an answer is, by the second, whatever else happens. */
export function Age(props: { polled: Polled<unknown> }): JSX.Element {
  const { at, problem } = props.polled;
  const [now, setNow] = useState(() => performance.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(performance.now()), 500);
    return () => clearInterval(timer);
  }, []);
  if (at === null) {
    return (
      <span class={problem ? 'age stale' : 'age'} role="status">
        {problem ? `no data: ${problem.message}` : 'asking…'}
      </span>
    );
  }
  const age = Math.max(0, Math.floor((now - at) / 1000));
  if (age >= STALE_S || (problem !== null && age >= 1)) {
    const why = problem?.message ?? 'waiting for an answer';
    return (
      <span class="age stale" role="status">
        STALE: data {seconds(age)} old, {why}
      </span>
    );
  }
  return <span class="age">data {age} s old</span>;
}
