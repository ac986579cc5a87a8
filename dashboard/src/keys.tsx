// Keys that work everywhere, and the page that lists them.

import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { Modal } from './parts/modal';
import { hrefTo, PAGES } from './place';

// How long after `g` the second key may come.
const CHORD_MS = 1500;

export function useShortcuts(actions: { onHelp: () => void; onTheme: () => void }): void {
  useEffect(() => {
    let goSince = 0;
    const onKeyDown = (event: KeyboardEvent): void => {
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || document.querySelector('dialog[open]')) {
        return;
      }
      const page = PAGES.find((it) => it.key === event.key);
      const isChord = performance.now() - goSince < CHORD_MS;
      goSince = 0;
      if (isChord && page) {
        location.hash = hrefTo(page.id);
      } else if (event.key === 'g') {
        goSince = performance.now();
      } else if (event.key === '?') {
        actions.onHelp();
      } else if (event.key === 't') {
        actions.onTheme();
      } else if (event.key === 'n') {
        document.querySelector<HTMLElement>('[data-scope][aria-pressed="false"]')?.click();
      } else if (event.key === '/') {
        document.querySelector<HTMLElement>('[data-filter]')?.focus();
      } else if (event.key === 'j' || event.key === 'ArrowDown') {
        document.querySelector<HTMLElement>('main tbody tr[tabindex="0"]')?.focus();
      } else {
        return;
      }
      event.preventDefault();
    };
    window.addEventListener('keydown', onKeyDown);
    return () => window.removeEventListener('keydown', onKeyDown);
  }, []);
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.closest('input, textarea, select') !== null;
}

export function Help(props: { onClose: () => void }): JSX.Element {
  const keys: [string, string][] = [
    ...PAGES.map((page): [string, string] => [`g ${page.key}`, page.title]),
    ['/', 'Filter'],
    ['j k ↓ ↑', 'Rows of a table'],
    ['Enter', 'Open the row'],
    ['d w e r', 'On an endpoint: drain, weight, eject, reset'],
    ['n', 'The node, or its whole cluster'],
    ['t', 'Light, dark, as the system'],
    ['Esc', 'Close'],
    ['?', 'This list'],
  ];
  return (
    <Modal title="Keys" onClose={props.onClose}>
      <dl class="keys">
        {keys.map(([key, what]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <div class="buttons">
        <button type="button" class="primary" onClick={props.onClose}>
          Close
        </button>
      </div>
    </Modal>
  );
}
