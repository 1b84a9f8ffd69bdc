/** Which key of which broker a URL means: `broker:https://HOST:PORT/TENANT/KEY?…`. */
import { invalidKeyUrl } from './key-url.ts';
import type { KeyUrl } from './key-url.ts';

export interface BrokerPlace {
  readonly origin: string;
  readonly tenant: string;
  readonly key: string;
}

const namePattern = /^[a-z0-9][a-z0-9-]{0,63}$/;

export function brokerPlaceOf({ kind, body }: KeyUrl): BrokerPlace {
  const url = URL.canParse(body) ? new URL(body) : undefined;
  const [, tenant = '', key = '', ...rest] = url?.pathname.split('/') ?? [];
  const isWhole = url?.protocol === 'https:' && namePattern.test(tenant) && namePattern.test(key) && rest.length === 0;
  if (url !== undefined && isWhole) return { origin: url.origin, tenant, key };
  throw invalidKeyUrl(kind, 'it is not of the form broker:https://HOST:PORT/TENANT/KEY');
}
