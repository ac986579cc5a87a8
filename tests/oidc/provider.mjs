// A real OpenID Connect provider for one test: `node provider.mjs ISSUER CALLBACK [CERTIFICATE KEY]`. It says so with a line once it listens.
//
// `POST /warp/HOW` has the next ID token changed, and signed anew with the provider's own key unless HOW is about that, so that
// what refuses it is the check in question and no other.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';

import { SignJWT, UnsecuredJWT, base64url, decodeJwt, exportJWK, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';

const [issuer, callback, certificate, key] = process.argv.slice(2);
const ALG = 'RS256';
const SECRET = 'a-secret-of-the-client-that-nobody-may-see';
const GROUPS = { jane: ['staff', 'sre'], vera: ['staff'], mallory: ['visitors'] };

const own = await generateKeyPair(ALG, { extractable: true });
const forger = await generateKeyPair(ALG, { extractable: true });
const jwk = { ...(await exportJWK(own.privateKey)), kid: 'own', alg: ALG, use: 'sig' };

const provider = new Provider(issuer, {
  clients: [{ client_id: 'mainstay', client_secret: SECRET, redirect_uris: [callback], response_types: ['code'] }],
  jwks: { keys: [jwk] },
  claims: { openid: ['sub'], profile: ['preferred_username'], groups: ['groups'] },
  conformIdTokenClaims: false,
  findAccount: (_context, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, groups: GROUPS[id] ?? [] }),
  }),
  cookies: { keys: ['only for tests'] },
  pkce: { required: () => true },
});

let warped = null;

const now = () => Math.floor(Date.now() / 1000);
const CHANGES = {
  nonce: { nonce: 'of-another-login' },
  audience: { aud: 'another-client' },
  audiences: { aud: ['mainstay', 'another-client'] },
  party: { azp: 'another-client' },
  issuer: { iss: 'https://evil.example' },
  expired: { exp: now() - 3600, iat: now() - 7200 },
  future: { iat: now() + 3600, exp: now() + 7200 },
};

async function warp(token, how) {
  const claims = { ...decodeJwt(token), ...CHANGES[how] };
  switch (how) {
    case 'none':
      return new UnsecuredJWT(claims).encode();
    case 'secret':
      return new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(new TextEncoder().encode(SECRET));
    case 'forged':
      return new SignJWT(claims).setProtectedHeader({ alg: ALG, kid: 'own' }).sign(forger.privateKey);
    case 'stranger':
      return new SignJWT(claims).setProtectedHeader({ alg: ALG, kid: 'another' }).sign(forger.privateKey);
    case 'payload': {
      const [head, , signature] = token.split('.');
      return [head, base64url.encode(JSON.stringify({ ...claims, groups: ['sre'] })), signature].join('.');
    }
    default:
      return new SignJWT(claims).setProtectedHeader({ alg: ALG, kid: 'own' }).sign(own.privateKey);
  }
}

provider.use(async (context, next) => {
  await next();
  if (context.path === '/token' && context.body?.id_token && warped !== null) {
    context.body.id_token = await warp(context.body.id_token, warped);
    warped = null;
  }
});

const handle = provider.callback();
const answer = (request, response) => {
  if (request.method === 'POST' && request.url.startsWith('/warp/')) {
    warped = request.url.slice('/warp/'.length);
    response.end('{}');
    return;
  }
  handle(request, response);
};
const server = certificate
  ? createSecureServer({ cert: readFileSync(certificate), key: readFileSync(key) }, answer)
  : createServer(answer);
const { hostname, port } = new URL(issuer);
server.listen(Number(port), hostname);
await once(server, 'listening');
// Whoever started this reads one line; what the provider says later is for nobody.
process.stdout.on('error', () => undefined);
console.log('listening');
