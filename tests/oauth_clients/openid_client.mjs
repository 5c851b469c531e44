// openid-client against the broker: discovery, each grant and each way to prove oneself; the token works
// upstream. Usage: openid_client.mjs FOLDER ISSUER SECRET

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { SignJWT, importJWK } from 'jose';
import * as client from 'openid-client';

const [folder, issuer, secret] = process.argv.slice(2);
const key = async (name) => importJWK(JSON.parse(readFileSync(`${folder}/${name}.json`)));

const discover = (id, auth) =>
  client.discovery(new URL(issuer), id, undefined, auth, {
    algorithm: 'oauth2',
    execute: [client.allowInsecureRequests],
  });

const works = async (token) => {
  assert.equal(token.token_type, 'bearer');
  assert.ok(token.expires_in > 0 && token.expires_in <= 60);
  const headers = { Authorization: `Bearer ${token.access_token}` };
  const listed = await fetch(`${token.base_url}/tasks/`, { headers });
  assert.equal(listed.status, 200, await listed.text());
};

const idToken = async (audience) =>
  new SignJWT({ sub: 'alice' })
    .setProtectedHeader({ alg: 'RS256', typ: 'JWT', kid: 'login-1' })
    .setIssuer('https://login.example.com')
    .setAudience(audience)
    .setIssuedAt()
    .setExpirationTime('1m')
    .sign(await key('login'));

for (const method of [client.ClientSecretBasic, client.ClientSecretPost]) {
  await works(await client.clientCredentialsGrant(await discover('secretive', method(secret))));
  const wrong = await discover('secretive', method('vas_wrong'));
  await assert.rejects(client.clientCredentialsGrant(wrong), (error) => error.status === 401);
}

// Its assertions are for the issuer, as RFC 7523 has it in its present revision.
const signing = await discover('signing', client.PrivateKeyJwt({ key: await key('app'), kid: 'app-1' }));
await works(await client.clientCredentialsGrant(signing, { scope: 'transcribe' }));
await assert.rejects(client.clientCredentialsGrant(signing, { scope: 'everything' }), { error: 'invalid_scope' });

const phone = await discover('phone', client.None());
const exchange = async (audience) =>
  client.genericGrantRequest(phone, 'urn:ietf:params:oauth:grant-type:token-exchange', {
    subject_token: await idToken(audience),
    subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
  });
const exchanged = await exchange('phone');
assert.equal(exchanged.issued_token_type, 'urn:ietf:params:oauth:token-type:access_token');
await works(exchanged);
await assert.rejects(exchange('other'), { error: 'invalid_request', status: 400 });

const granted = await client.genericGrantRequest(phone, 'urn:ietf:params:oauth:grant-type:jwt-bearer', {
  assertion: await idToken('phone'),
});
await works(granted);

console.log('openid-client: discovery, secrets by header and form, a signed assertion, an exchange, a JWT grant');
