// Where the reader is: the part of the address after `#`, so that a page can be kept, shared and gone back to.

export interface Place {
  page: string;
  /** What follows the page's name, decoded. */
  parts: string[];
  query: Record<string, string>;
}

export const PAGES = [
  { id: 'overview', title: 'Overview', key: 'o' },
  { id: 'services', title: 'Services', key: 's' },
  { id: 'cluster', title: 'Cluster', key: 'c' },
  { id: 'databases', title: 'Databases', key: 'd' },
  { id: 'incidents', title: 'Incidents', key: 'i' },
  { id: 'objectives', title: 'Objectives', key: 'b' },
  { id: 'alerts', title: 'Alerts', key: 'a' },
  { id: 'requests', title: 'Requests', key: 'r' },
  { id: 'audit', title: 'Audit', key: 'u' },
] as const;

/** Reads the part after `#`. Nothing, or what nobody can read, is the overview. */
export function parsePlace(hash: string): Place {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?', 2);
  const [page = '', ...parts] = path.split('/').map(decoded);
  const known = PAGES.some((it) => it.id === page);
  return {
    page: known ? page : 'overview',
    parts: known ? parts.filter((part) => part !== '') : [],
    query: Object.fromEntries(new URLSearchParams(query)),
  };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The address of a place. Parts of the query that are empty are left out. */
export function hrefTo(page: string, parts: readonly string[] = [], query: Record<string, string> = {}): string {
  const path = [page, ...parts].map(encodeURIComponent).join('/');
  const asked = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== '')).toString();
  return `#/${path}${asked === '' ? '' : `?${asked}`}`;
}
