/**
 * From the URL of a key source to the source, for a volume and for a broker alike. Each kind is loaded when it
 * is first asked for. Making a source asks nobody yet: services are reached by `enroll` and `derive`.
 */
import type { KeySourceContext } from './key-source-context.ts';
import { parseKeyUrl } from './key-url.ts';
import type { HeldKeySource } from './key-source.ts';

export async function openKeySource(text: string, context: KeySourceContext): Promise<HeldKeySource> {
  const url = parseKeyUrl(text);
  switch (url.kind) {
    case 'pkcs11':
      return (await import('./pkcs11.ts')).createPkcs11Source(url, context);
    case 'tang':
      return (await import('./tang.ts')).createTangSource(url, context);
    case 'vault':
      return (await import('./vault.ts')).createVaultSource(url, context);
    case 'tpm':
      return (await import('./tpm.ts')).createTpmSource(url, context);
    case 'aws-kms':
      return (await import('./aws-kms.ts')).createAwsKmsSource(url, context);
    case 'kmip':
      return (await import('./kmip.ts')).createKmipSource(url, context);
    case 'broker':
      return (await import('./broker.ts')).createBrokerSource(url, context);
    case 'keystore':
      return (await import('./keystore.ts')).createKeystoreSource(url, context, openKeySource);
    case 'kbs':
      return (await import('./kbs.ts')).createKbsSource(url, context);
  }
}
