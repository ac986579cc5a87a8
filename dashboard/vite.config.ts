import { defineConfig } from 'vite';

// A node to develop against: `MAINSTAY_ADMIN=http://127.0.0.1:7900 npm run dev`, or the mock server of `npm run mock`.
const admin = process.env.MAINSTAY_ADMIN ?? 'http://127.0.0.1:7999';

export default defineConfig({
  base: '/dashboard/',
  esbuild: { jsx: 'automatic', jsxImportSource: 'preact' },
  build: {
    target: 'es2022',
    // The content security policy allows no inline code and no data: scripts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    sourcemap: false,
  },
  server: { proxy: { '/api': { target: admin, changeOrigin: true } } },
});
