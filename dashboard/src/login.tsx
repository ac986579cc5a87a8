// Who asks: shown when the node wants to know.

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { ask, Problem } from './api/client';
import type { Login as Ways } from './api/model';
import { CommandLine } from './parts/command_line';

interface Props {
  ways: Ways;
  /** Why somebody who was logged in sees this. */
  notice: string | null;
  onDone: () => void;
}

export function Login(props: Props): JSX.Element {
  const { ways } = props;
  const [problem, setProblem] = useState<Problem | null>(null);
  const [isAsking, setAsking] = useState(false);
  const wait = useCountdown(problem);
  const logIn = async (sent: Record<string, string>): Promise<void> => {
    setAsking(true);
    try {
      await ask('/session', 'POST', sent);
      props.onDone();
    } catch (error) {
      setProblem(error instanceof Problem ? error : new Problem(0, String(error)));
    }
    setAsking(false);
  };
  const submit = (event: JSX.TargetedSubmitEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const sent = [...form.entries()].filter((entry): entry is [string, string] => typeof entry[1] === 'string');
    void logIn(Object.fromEntries(sent));
  };
  const said = sayingOf(problem, wait);
  return (
    <main class="login">
      <h1>Mainstay</h1>
      <p class="quiet">{location.host} wants to know who you are.</p>
      {props.notice !== null && problem === null && <p class="refusal" role="status">{props.notice}</p>}
      {ways.password !== false && (
        <form onSubmit={submit}>
          <label class="field">
            <span>User</span>
            <input name="user" autocomplete="username" required autofocus />
          </label>
          <label class="field">
            <span>Password</span>
            <input name="password" type="password" autocomplete="current-password" required />
          </label>
          {said !== null && (
            <p class="failure" role="alert">
              {said}
            </p>
          )}
          <button type="submit" class="primary" disabled={isAsking || wait > 0}>
            {isAsking ? 'Logging in…' : 'Log in'}
          </button>
        </form>
      )}
      {ways.oidc && (
        <a class="button" href={ways.oidc.url}>
          Sign in with {ways.oidc.name}
        </a>
      )}
      {ways.password !== false && (
        <details>
          <summary>No user yet?</summary>
          <p class="quiet">On the node, as its owner or root:</p>
          <CommandLine text="mainstay access user add NAME --role operator" />
        </details>
      )}
    </main>
  );
}

/** The seconds for which the node wants no further try. */
function useCountdown(problem: Problem | null): number {
  const [left, setLeft] = useState(0);
  useEffect(() => {
    const end = performance.now() + (problem?.retryAfterSeconds ?? 0) * 1000;
    const look = (): void => setLeft(Math.max(0, Math.ceil((end - performance.now()) / 1000)));
    look();
    const timer = setInterval(look, 500);
    return () => clearInterval(timer);
  }, [problem]);
  return left;
}

// The node's hint is about tokens, which is for whoever asks without this page.
function sayingOf(problem: Problem | null, wait: number): string | null {
  if (problem === null) {
    return null;
  }
  if (problem.status === 429) {
    return wait > 0 ? `Too many failed logins. Try again in ${wait} s.` : 'Try again.';
  }
  const said = problem.message.charAt(0).toUpperCase() + problem.message.slice(1);
  return problem.status !== 401 && problem.hint !== null ? `${said}. ${problem.hint}` : `${said}.`;
}
