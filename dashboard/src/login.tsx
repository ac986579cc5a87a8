// Who asks: shown when the node wants to know.

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { ask, Problem } from './api/client';
import type { Login as Ways } from './api/model';
import { Failure } from './parts/bits';

export function Login(props: { ways: Ways; onDone: () => void }): JSX.Element {
  const { ways } = props;
  const [problem, setProblem] = useState<Problem | null>(null);
  const [isAsking, setAsking] = useState(false);
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
  return (
    <main class="login">
      <h1>Mainstay</h1>
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
          <button type="submit" class="primary" disabled={isAsking}>
            Log in
          </button>
        </form>
      )}
      {ways.oidc && (
        <p>
          <a class="button" href={ways.oidc.url}>
            Log in with {ways.oidc.name}
          </a>
        </p>
      )}
      {problem !== null && <Failure problem={problem} />}
    </main>
  );
}
