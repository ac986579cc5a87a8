// The frame around every page: where one is, which node answers, how old its data is, and what the keys do.

import type { JSX } from 'preact';
import { useCallback, useEffect, useMemo, useState } from 'preact/hooks';
import { ask, askedNode, askNode, Problem, rememberCsrf, whenUnauthorized } from './api/client';
import type { Login as Ways, Session, Status } from './api/model';
import { usePolled } from './api/poll';
import { Header } from './header';
import { Help, useShortcuts } from './keys';
import { Login } from './login';
import { PAGES, parsePlace, type Place } from './place';
import { Confirm } from './parts/confirm';
import { Alerts } from './pages/alerts';
import { Audit } from './pages/audit';
import { Cluster } from './pages/cluster';
import { Databases } from './pages/databases';
import { Incidents } from './pages/incidents';
import { Objectives } from './pages/objectives';
import { Overview } from './pages/overview';
import { Requests } from './pages/requests';
import { Services } from './pages/services';
import { ShellContext, type Action } from './shell';
import { switchTheme } from './theme';

interface Visitor {
  session: Session | null;
  /** Set while the node wants to know who asks. */
  ways: Ways | null;
  /** Why somebody who was logged in has to log in again. */
  notice: string | null;
  isKnown: boolean;
}

export function App(): JSX.Element {
  const [visitor, setVisitor] = useState<Visitor>({ session: null, ways: null, notice: null, isKnown: false });
  const [node, setNode] = useState(askedNode);
  const learn = useCallback(async () => setVisitor(await whoAsks()), []);
  useEffect(() => {
    whenUnauthorized((problem) => {
      setVisitor((old) => {
        const isOver = old.session?.via === 'session';
        return { session: null, ways: problem.login ?? old.ways ?? {}, notice: isOver ? ENDED : old.notice, isKnown: true };
      });
      // Only the answer about the session says which ways there are to log in.
      if (problem.login === null) {
        void whoAsks().then((visitor) => setVisitor((old) => ({ ...visitor, notice: old.notice })));
      }
    });
    void learn();
  }, [learn]);
  if (visitor.ways !== null) {
    return <Login ways={visitor.ways} notice={visitor.notice} onDone={() => void learn()} />;
  }
  const choose = (name: string | null): void => {
    askNode(name);
    setNode(name);
  };
  // Another node's page begins anew: no number of the one before may stand on it.
  return <Frame key={node ?? ''} session={visitor.session} isKnown={visitor.isKnown} onLogout={() => void learn()} onNode={choose} />;
}

const ENDED = 'Your session has ended. Log in again.';

async function whoAsks(): Promise<Visitor> {
  try {
    const session = await ask<Session>('/session');
    rememberCsrf(session.csrf ?? null);
    return { session, ways: null, notice: null, isKnown: true };
  } catch (error) {
    const problem = error instanceof Problem ? error : null;
    rememberCsrf(null);
    return { session: null, ways: problem?.status === 401 ? (problem.login ?? {}) : null, notice: null, isKnown: true };
  }
}

interface FrameProps {
  session: Session | null;
  isKnown: boolean;
  onLogout: () => void;
  onNode: (name: string | null) => void;
}

function Frame(props: FrameProps): JSX.Element {
  const place = usePlace();
  const status = usePolled<Status>(props.isKnown ? '/status' : null);
  const [action, setAction] = useState<Action | null>(null);
  const [isHelpOpen, setHelpOpen] = useState(false);
  const shell = useMemo(() => ({ status, session: props.session, propose: setAction }), [status, props.session]);
  useShortcuts({ onHelp: () => setHelpOpen(true), onTheme: switchTheme });
  const title = PAGES.find((page) => page.id === place.page)?.title ?? '';
  useEffect(() => {
    document.title = `${place.parts[0] ?? title} · ${status.value?.node.name ?? 'Mainstay'}`;
  }, [title, place.parts[0], status.value?.node.name]);
  return (
    <ShellContext.Provider value={shell}>
      <a class="skip" href="#main" onClick={skipToMain}>
        Skip to the content
      </a>
      <Header place={place} onHelp={() => setHelpOpen(true)} onLogout={props.onLogout} onNode={props.onNode} />
      <main id="main" tabIndex={-1}>
        <Content place={place} />
      </main>
      {action !== null && <Confirm key={action.title} action={action} onClose={() => setAction(null)} />}
      {isHelpOpen && <Help onClose={() => setHelpOpen(false)} />}
    </ShellContext.Provider>
  );
}

function Content(props: { place: Place }): JSX.Element {
  const { page, parts, query } = props.place;
  switch (page) {
    case 'services':
      return <Services parts={parts} query={query} />;
    case 'cluster':
      return <Cluster />;
    case 'databases':
      return <Databases />;
    case 'incidents':
      return <Incidents id={parts[0] ?? null} />;
    case 'objectives':
      return <Objectives name={parts[0] ?? null} />;
    case 'alerts':
      return <Alerts />;
    case 'requests':
      return <Requests id={parts[0] ?? null} query={query} />;
    case 'audit':
      return <Audit />;
    default:
      return <Overview query={query} />;
  }
}

function usePlace(): Place {
  const [place, setPlace] = useState(() => parsePlace(location.hash));
  useEffect(() => {
    const follow = (): void => {
      setPlace(parsePlace(location.hash));
      window.scrollTo({ top: 0 });
    };
    window.addEventListener('hashchange', follow);
    return () => window.removeEventListener('hashchange', follow);
  }, []);
  return place;
}

// The part of the address after `#` is the page's name here, so that an anchor would lead to another page.
function skipToMain(event: MouseEvent): void {
  event.preventDefault();
  document.getElementById('main')?.focus();
}
