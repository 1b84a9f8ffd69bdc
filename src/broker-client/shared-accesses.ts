/**
 * The accesses of this process: whoever names the same key of the same broker in the same way shares one, so that the
 * key source and the anchor of a volume need one attestation between them.
 */
import type { BrokerAccess } from './broker-access.ts';

interface Shared {
  readonly access: BrokerAccess;
  users: number;
}

const accesses = new Map<string, Shared>();

export interface AccessHold {
  readonly access: BrokerAccess;
  /** Idempotent; the last one closes the access. */
  release(): void;
}

/** `name` says all that `make` depends on. */
export function holdAccess(name: string, make: () => BrokerAccess): AccessHold {
  let shared = accesses.get(name);
  if (shared === undefined) {
    shared = { access: make(), users: 0 };
    accesses.set(name, shared);
  }
  const held = shared;
  held.users++;
  let isHeld = true;
  return {
    access: held.access,
    release: () => {
      if (!isHeld) return;
      isHeld = false;
      if (--held.users > 0) return;
      accesses.delete(name);
      held.access.close();
    },
  };
}
