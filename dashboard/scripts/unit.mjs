// Runs the tests of the parts that only compute: translated to JavaScript first, since Node reads no TypeScript.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const root = fileURLToPath(new URL('..', import.meta.url));
await build({
  root,
  configFile: false,
  logLevel: 'warn',
  build: {
    ssr: 'unit/pure.test.ts',
    outDir: 'unit-built',
    emptyOutDir: true,
    rollupOptions: { output: { entryFileNames: 'pure.test.mjs' } },
  },
});
const { status } = spawnSync(process.execPath, ['--test', 'unit-built/pure.test.mjs'], { cwd: root, stdio: 'inherit' });
process.exit(status ?? 1);
