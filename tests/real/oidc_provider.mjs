// An OpenID Connect provider on this machine: node oidc_provider.mjs PORT [SECONDS [REDIRECT_URI]]. A device code is valid
// for SECONDS. The page of the client that asks for a login on the provider's page is at REDIRECT_URI.
// Everybody can log in: the name that is typed is the identifier, and the password is not checked.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const root = process.env.BROADCAST_NODE_MODULES;
const entry = createRequire(pathToFileURL(`${root}/`)).resolve('oidc-provider');
const { default: Provider } = await import(pathToFileURL(entry));
const [port, seconds] = process.argv.slice(2, 4).map(Number);
const redirects = process.argv.slice(4);

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: 'broadcast',
    client_secret: 'hush-hush-hush',
    grant_types: ['urn:ietf:params:oauth:grant-type:device_code', ...(redirects.length ? ['authorization_code'] : [])],
    redirect_uris: redirects,
    response_types: redirects.length ? ['code'] : [],
  }],
  claims: { openid: ['sub'], profile: ['preferred_username'], email: ['email'] },
  features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true } },
  pkce: { required: () => true },
  ttl: { DeviceCode: seconds || 600 },
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id, preferred_username: id.split('/')[0] }) }),
});
provider.listen(port, '127.0.0.1', () => console.log('listening'));
