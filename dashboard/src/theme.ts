// Light or dark: as the system says, unless the reader has chosen.

export type Theme = 'system' | 'light' | 'dark';

const KEY = 'mainstay-theme';
const NEXT: Record<Theme, Theme> = { system: 'light', light: 'dark', dark: 'system' };

export function chosenTheme(): Theme {
  try {
    const kept = localStorage.getItem(KEY);
    return kept === 'light' || kept === 'dark' ? kept : 'system';
  } catch {
    // A browser that keeps nothing for pages still shows them.
    return 'system';
  }
}

export function applyTheme(theme: Theme = chosenTheme()): void {
  if (theme === 'system') {
    delete document.documentElement.dataset.theme;
  } else {
    document.documentElement.dataset.theme = theme;
  }
}

/** The next of the three, from here on. */
export function switchTheme(): Theme {
  const next = NEXT[chosenTheme()];
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // It holds as long as the page then.
  }
  applyTheme(next);
  return next;
}
