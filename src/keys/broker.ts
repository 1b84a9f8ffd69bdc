/**
 * A broker as a key source: it releases the key to a workload that proves what it is (spec/broker-http.md, "Keys of
 * the broker"). Enrolling makes the key there when a policy is named and there is none yet.
 *
 * wrapped = broker id (32) || key id (16): which key of which broker the slot needs.
 */
import { equalBytes } from '../crypto/digest.ts';
import { isCaissonError } from '../lib/errors.ts';
import type { ReleasedKey } from '../broker-client/broker-access.ts';
import { brokerPlaceOf } from './broker-place.ts';
import { holdBrokerAccess } from './broker-url.ts';
import type { HeldKeySource, KeyUse } from './key-source.ts';
import type { KeyUrl } from './key-url.ts';
import type { KeySourceContext } from './key-source-context.ts';
import { serviceAway, wrongWrap } from './service-errors.ts';
import { invalidParameters, wrappedKeySource } from './wrapped-key.ts';

const brokerIdBytes = 32;
const keyIdBytes = 16;

export function createBrokerSource(url: KeyUrl, context: KeySourceContext): HeldKeySource {
  const { origin, tenant, key } = brokerPlaceOf(url);
  const hold = holdBrokerAccess(url, context);
  const policy = url.options.get('policy');
  const take = async (use: KeyUse, isNew: boolean): Promise<ReleasedKey> => {
    try {
      const create = isNew && policy !== undefined ? { policy } : undefined;
      return await hold.access.takeKey(use.volumeId, create);
    } catch (error) {
      if (!isCaissonError(error, 'broker-unreachable')) throw error;
      throw serviceAway('broker', error.message, { cause: error });
    }
  };
  return wrappedKeySource(
    {
      kind: 'broker',
      describe: `broker ${origin}, key ${tenant}/${key}`,
      async wrap(use) {
        const released = await take(use, true);
        return { wrapped: new Uint8Array([...released.brokerId, ...released.keyId]), secret: released.key };
      },
      async unwrap(wrapped, use) {
        if (wrapped.length !== brokerIdBytes + keyIdBytes) throw invalidParameters('broker', 'have the wrong length');
        const released = await take(use, false);
        const isMeant =
          equalBytes(released.brokerId, wrapped.subarray(0, brokerIdBytes)) &&
          equalBytes(released.keyId, wrapped.subarray(brokerIdBytes));
        if (isMeant) return released.key;
        released.key.fill(0);
        throw wrongWrap('broker', 'this slot was made with another key, or with a key of another broker');
      },
      wipe: () => hold.release(),
    },
    context.random,
  );
}
