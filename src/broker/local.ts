/**
 * The broker's code in a command's own process. The only file of the broker that the command line
 * may reach, and only `cli/run.ts` may: commands get it as an interface (admin/broker-tools.ts). Every
 * tool is loaded when it is used.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { BrokerTools, PolicyTools } from '../admin/broker-tools.ts';
import { systemClock } from '../lib/clock.ts';
import type { Environment } from '../lib/folders.ts';

export interface BrokerLocalOptions {
  readonly environment: Environment;
  readonly userId: number;
  readonly version: string;
}

export function openBrokerTools(options: BrokerLocalOptions): BrokerTools {
  return {
    run: async (request) => (await import('./main.ts')).runBroker(options, request),
    policies: async () => await openPolicies(),
    logs: async () => (await import('./log-tools.ts')).logTools,
    admin: async (place) => (await import('./remote-admin.ts')).openRemoteAdmin(place, options),
  };
}

async function openPolicies(): Promise<PolicyTools> {
  const [{ openPolicyTools }, { verifiers }, { offlineBundle }] = await Promise.all([
    import('./policy-tools.ts'),
    import('./attest/verifiers.ts'),
    import('./collateral/offline-bundle.ts'),
  ]);
  return openPolicyTools({
    verifiers,
    openBundle: offlineBundle,
    now: () => systemClock.wall(),
    exampleFolder: exampleFolder(),
  });
}

/** deploy/policies lies beside src/ and beside dist/ alike. */
function exampleFolder(): string {
  const places = ['../../deploy/policies/', '../../../deploy/policies/'].map((place) =>
    fileURLToPath(new URL(place, import.meta.url)),
  );
  return places.find((place) => existsSync(place)) ?? places[0]!;
}
