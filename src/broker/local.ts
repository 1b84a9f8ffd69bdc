/**
 * The broker's code in a command's own process. The only file of the broker that the command line
 * may reach, and only `cli/run.ts` may: commands get it as an interface (admin/broker-tools.ts). Every
 * tool is loaded when it is used.
 */
import type { BrokerTools } from '../admin/broker-tools.ts';
import type { BrokerLocalOptions } from './local-options.ts';

export function openBrokerTools(options: BrokerLocalOptions): BrokerTools {
  return {
    run: async (request) => (await import('./main.ts')).runBroker(options, request),
    policies: async () => (await import('./policy-tools.ts')).localPolicyTools(),
    logs: async () => (await import('./log-tools.ts')).logTools,
    collateral: async () => (await import('./collateral-tools.ts')).collateralTools,
    backups: async () => (await import('./backup-tools.ts')).openBackupTools(options),
    rotation: async () => (await import('./rotation-tools.ts')).openRotationTools(options),
    admin: async (place) => (await import('./remote-admin.ts')).openRemoteAdmin(place, options),
  };
}
