/**
 * A symmetric key of AWS KMS as a key source (spec/keys.md, section 5.8). wrapped = the CiphertextBlob of Encrypt. The
 * volume is the encryption context, which KMS demands again and CloudTrail shows; Decrypt names the key, so that a blob
 * under somebody else's key is refused by KMS.
 */
import { hash } from 'node:crypto';
import type { Credentials } from '../aws/credential-source.ts';
import { CredentialChain } from '../aws/credentials.ts';
import { signRequest } from '../aws/sigv4.ts';
import { keyBytes } from '../crypto/sealer.ts';
import type { Clock } from '../lib/clock.ts';
import { isCaissonError } from '../lib/errors.ts';
import type { CaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import type { HeldKeySource, KeyUse } from './key-source.ts';
import { invalidKeyUrl } from './key-url.ts';
import type { KeyUrl } from './key-url.ts';
import type { KeySourceContext } from './key-source-context.ts';
import { readSecretFile } from './secret-file.ts';
import { serviceAway, serviceRefuses, wrongWrap } from './service-errors.ts';
import { answeredObject, askService, requireTls, serviceUrl } from './service-http.ts';
import type { ServiceAnswer } from './service-http.ts';
import { wrappedBytesMax, wrappedKeySource } from './wrapped-key.ts';

const keyPattern =
  /^(?:arn:aws[a-z-]*:kms:[a-z0-9-]{1,64}:\d{12}:(?:key|alias)\/[\w/-]{1,256}|alias\/[\w/-]{1,256}|(?:mrk-)?[0-9a-f-]{32,36})$/;
const regionPattern = /^[a-z0-9-]{1,64}$/;
/** KMS says so of a blob, a context or a key that do not belong together. */
const wrongCodes: ReadonlySet<string> = new Set(['InvalidCiphertextException', 'IncorrectKeyException']);
const expiredCodes: ReadonlySet<string> = new Set(['ExpiredTokenException', 'ExpiredToken', 'TokenRefreshRequired']);
const laterCodes: ReadonlySet<string> = new Set([
  ...['ThrottlingException', 'LimitExceededException', 'KMSInternalException', 'DependencyTimeoutException'],
  'KeyUnavailableException',
]);

type Fields = Readonly<Record<string, unknown>>;

export function createAwsKmsSource(url: KeyUrl, context: KeySourceContext): HeldKeySource {
  const { random } = context;
  const keyId = url.body;
  if (!keyPattern.test(keyId))
    throw invalidKeyUrl(
      'aws-kms',
      'it names no key',
      'Write a key id, alias/NAME or an ARN: aws-kms:alias/volumes?region=eu-central-1.',
    );
  const client = new KmsClient(url, context);
  return wrappedKeySource(
    {
      kind: 'aws-kms',
      describe: `AWS KMS ${keyId}`,
      async wrap(use) {
        const secret = Uint8Array.from(random.bytes(keyBytes));
        const Plaintext = Buffer.from(secret).toString('base64');
        const { CiphertextBlob: blob } = await client.call('Encrypt', { KeyId: keyId, Plaintext, ...contextOf(use) });
        const wrapped = typeof blob === 'string' ? new Uint8Array(Buffer.from(blob, 'base64')) : new Uint8Array(0);
        if (wrapped.length === 0 || wrapped.length > wrappedBytesMax)
          throw serviceAway('aws-kms', 'its answer holds no ciphertext');
        return { wrapped, secret };
      },
      async unwrap(wrapped, use) {
        const CiphertextBlob = Buffer.from(wrapped).toString('base64');
        const { Plaintext } = await client.call('Decrypt', { KeyId: keyId, CiphertextBlob, ...contextOf(use) });
        if (typeof Plaintext !== 'string') throw serviceAway('aws-kms', 'its answer holds no plaintext');
        return new Uint8Array(Buffer.from(Plaintext, 'base64'));
      },
    },
    random,
  );
}

function contextOf(use: KeyUse): Fields {
  return { EncryptionAlgorithm: 'SYMMETRIC_DEFAULT', EncryptionContext: { 'caisson:volume': toHex(use.volumeId) } };
}

class KmsClient {
  readonly #endpoint: URL;
  readonly #region: string;
  readonly #credentials: CredentialChain;
  readonly #clock: Clock;
  readonly #authorityFile: string | undefined;

  constructor({ body, options }: KeyUrl, { environment, clock }: KeySourceContext) {
    const ofArn = body.startsWith('arn:') ? body.split(':')[3] : undefined;
    const wanted = options.get('region');
    if (ofArn !== undefined && wanted !== undefined && ofArn !== wanted)
      throw invalidKeyUrl('aws-kms', `the key lies in ${ofArn}, not in ${wanted}`);
    const region = ofArn ?? wanted ?? environment['AWS_REGION'] ?? environment['AWS_DEFAULT_REGION'];
    if (region === undefined || !regionPattern.test(region))
      throw invalidKeyUrl(
        'aws-kms',
        'the region is missing or no region',
        'Add ?region=eu-central-1, or set AWS_REGION.',
      );
    const suffix = region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com';
    const given = options.get('endpoint') ?? environment['AWS_ENDPOINT_URL_KMS'] ?? environment['AWS_ENDPOINT_URL'];
    this.#endpoint = serviceUrl('aws-kms', given ?? `https://kms.${region}.${suffix}`);
    requireTls('aws-kms', this.#endpoint);
    this.#region = region;
    this.#clock = clock;
    this.#authorityFile = options.get('ca-file');
    this.#credentials = new CredentialChain({ environment, profile: options.get('profile'), region, clock });
  }

  /** Credentials that have ended are renewed once. */
  async call(action: 'Encrypt' | 'Decrypt', fields: Fields): Promise<Fields> {
    let used = await this.#usable(() => this.#credentials.get());
    let answer = await this.#ask(action, fields, used);
    if (answer.status === 400 && expiredCodes.has(refusalIn(answer).code)) {
      used = await this.#usable(() => this.#credentials.renew(used));
      answer = await this.#ask(action, fields, used);
    }
    if (answer.status === 200) return answeredObject('aws-kms', answer);
    throw refusalError(action, answer);
  }

  async #usable(find: () => Promise<Credentials>): Promise<Credentials> {
    try {
      return await find();
    } catch (error) {
      if (!isCaissonError(error)) throw error;
      throw serviceRefuses('aws-kms', error.message, error.remedy ?? 'Check the credentials.', error);
    }
  }

  async #ask(action: string, fields: Fields, credentials: Credentials): Promise<ServiceAnswer> {
    const body = JSON.stringify(fields);
    const headers = signRequest(
      {
        ...{ method: 'POST', path: '/', query: [], region: this.#region, service: 'kms' },
        headers: {
          host: this.#endpoint.host,
          'content-type': 'application/x-amz-json-1.1',
          'x-amz-target': `TrentService.${action}`,
        },
        payloadHash: hash('sha256', body, 'hex'),
        time: this.#clock.wall(),
      },
      credentials,
    );
    const file = this.#authorityFile;
    const tls = file === undefined ? {} : { authorities: readSecretFile(file, 'the authority') };
    return askService(
      'aws-kms',
      { method: 'POST', url: new URL('/', this.#endpoint), headers, body },
      this.#clock,
      tls,
    );
  }
}

function refusalError(action: string, answer: ServiceAnswer): CaissonError {
  const { code, message } = refusalIn(answer);
  const what = `it refuses ${action}: ${[code, message].filter((text) => text !== '').join(', ') || `status ${answer.status}`}`;
  if (action === 'Decrypt' && wrongCodes.has(code)) return wrongWrap('aws-kms', code);
  if (answer.status >= 500 || answer.status === 429 || laterCodes.has(code)) return serviceAway('aws-kms', what);
  const remedy =
    code === 'AccessDeniedException'
      ? 'Allow kms:Encrypt and kms:Decrypt with the context caisson:volume to this identity, in its policy or that of the key.'
      : 'Check the key, its region and state, the credentials, and the clock of this machine.';
  return serviceRefuses('aws-kms', what, remedy);
}

/** `com.amazonaws.kms#InvalidCiphertextException` and the plain form are the same. */
function refusalIn({ body }: ServiceAnswer): { readonly code: string; readonly message: string } {
  try {
    const fields = JSON.parse(new TextDecoder().decode(body)) as Fields;
    const text = (name: string): string => (typeof fields[name] === 'string' ? fields[name] : '');
    const message = (text('message') || text('Message')).replaceAll(/\p{Cc}+/gu, ' ').substring(0, 300);
    return { code: text('__type').replace(/^.*#/, '').substring(0, 100), message };
  } catch {
    return { code: '', message: '' };
  }
}
