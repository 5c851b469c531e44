// node oidc-provider as a token endpoint: client credentials, opaque tokens of a minute, kept in memory.
// Prints its address. Usage: oidc_provider.mjs CLIENT_ID CLIENT_SECRET

import Provider from 'oidc-provider';

const [id, secret] = process.argv.slice(2);
const provider = new Provider('http://127.0.0.1', {
  clients: [
    {
      client_id: id,
      client_secret: secret,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    },
  ],
  features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
  scopes: ['transcribe'],
  ttl: { ClientCredentials: 60 },
});
const server = provider.listen(0, '127.0.0.1', () => {
  console.log(`127.0.0.1:${server.address().port}`);
});
