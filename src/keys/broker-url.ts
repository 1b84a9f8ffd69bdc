/** `broker:https://HOST:PORT/TENANT/KEY?…`: the broker, the key, and how this machine proves itself (spec/keys.md, section 5). */
import { detectSource } from '../attester/detect-source.ts';
import { BrokerAccess } from '../broker-client/broker-access.ts';
import { BrokerClient, parseBrokerId } from '../broker-client/broker-client.ts';
import { holdAccess } from '../broker-client/shared-accesses.ts';
import type { AccessHold } from '../broker-client/shared-accesses.ts';
import { systemClock } from '../lib/clock.ts';
import { toHex } from '../lib/hex.ts';
import { envelopeSuites } from '../wire/envelope-suites.ts';
import type { EnvelopeSuite } from '../wire/envelope-suites.ts';
import { brokerPlaceOf } from './broker-place.ts';
import { invalidKeyUrl } from './key-url.ts';
import type { KeyUrl } from './key-url.ts';
import type { KeySourceContext } from './key-source-context.ts';
import { readSecretFile } from './secret-file.ts';

/** The access that this URL means; shared with everybody in this process who gives the same. */
export function holdBrokerAccess(url: KeyUrl, { clock, random }: KeySourceContext): AccessHold {
  const { origin, tenant, key } = brokerPlaceOf(url);
  const option = (name: string): string | undefined => url.options.get(name);
  const identity = option('identity');
  const brokerId = identity === undefined ? undefined : parseBrokerId(identity);
  const suite = suiteOf(url);
  const [technology, tpm, authorityFile] = [option('evidence'), option('tpm'), option('ca-file')];
  const name = JSON.stringify([
    origin,
    tenant,
    key,
    brokerId && toHex(brokerId),
    suite,
    technology,
    tpm,
    authorityFile,
  ]);
  return holdAccess(name, () => {
    const authority =
      authorityFile === undefined
        ? undefined
        : new TextDecoder().decode(readSecretFile(authorityFile, 'certificate authority'));
    return new BrokerAccess({
      client: new BrokerClient({ url: origin, trust: { authority }, brokerId, clock, random }),
      source: () =>
        detectSource({
          ...(technology === undefined ? {} : { technology }),
          ...(tpm === undefined ? {} : { tpm }),
        }),
      ...{ tenant, key, suite },
      // It only wipes what nobody took; that keeps no process alive.
      clock: systemClock,
    });
  });
}

function suiteOf(url: KeyUrl): EnvelopeSuite | undefined {
  const text = url.options.get('suite');
  const suite = envelopeSuites.find((known) => known === text);
  if (text === undefined || suite !== undefined) return suite;
  throw invalidKeyUrl(
    url.kind,
    `there is no suite ${JSON.stringify(text)}`,
    `Suites are ${envelopeSuites.join(', ')}.`,
  );
}
