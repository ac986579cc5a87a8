// Writes each file of dist a second time, compressed, so that a node never spends processor time on that; and holds the
// dashboard to its size.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { constants, gzipSync } from 'node:zlib';

const BYTES_MAX = 150 * 1024;
const dist = new URL('../dist/', import.meta.url).pathname;

function filesIn(directory) {
  return readdirSync(directory).flatMap((name) => {
    const path = join(directory, name);
    return statSync(path).isDirectory() ? filesIn(path) : [path];
  });
}

let total = 0;
for (const path of filesIn(dist).filter((path) => /\.(html|js|css|svg)$/.test(path))) {
  const small = gzipSync(readFileSync(path), { level: constants.Z_BEST_COMPRESSION });
  writeFileSync(`${path}.gz`, small);
  total += small.length;
}
console.log(`dashboard: ${total} bytes compressed, of at most ${BYTES_MAX}`);
if (total > BYTES_MAX) {
  console.error('error: the dashboard is too large');
  process.exit(1);
}
