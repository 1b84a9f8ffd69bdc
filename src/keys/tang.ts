/**
 * A Tang server as a key source (spec/keys.md, section 5.6): the key can be had where the server can be reached, and
 * the server learns neither the key nor which volume asks (McCallum-Relyea exchange on P-521).
 *
 * wrapped = client point (67) || server point (67) || box of the secret (60). The server point is taken from an
 * advertisement that the pinned key signed, when the slot is made; opening trusts nothing but that the box opens. So
 * keys that the server has rotated and only hides still open old slots.
 */
import { p521 } from '@noble/curves/nist.js';
import { unwrapBox, wrapBox, wrapOverheadBytes } from '../crypto/box.ts';
import { deriveKey, keyLabel } from '../crypto/derive.ts';
import { keyBytes } from '../crypto/sealer.ts';
import type { Clock } from '../lib/clock.ts';
import type { Random } from '../lib/random.ts';
import type { HeldKeySource, KeyUse } from './key-source.ts';
import { invalidKeyUrl, requiredOption } from './key-url.ts';
import type { KeyUrl } from './key-url.ts';
import type { KeySourceContext } from './key-source-context.ts';
import { readSecretFile } from './secret-file.ts';
import { serviceAway, serviceRefuses, wrongWrap } from './service-errors.ts';
import { answeredObject, askService, serviceUrl } from './service-http.ts';
import type { ServiceTls } from './service-http.ts';
import { compressedPointBytes, exchangeKeyOf, jwkOf, pointFromBytes, pointFromJwk, thumbprintOf } from './tang-keys.ts';
import type { Point } from './tang-keys.ts';
import { invalidParameters, useText, wrappedKeySource } from './wrapped-key.ts';

/** So many more than a scalar has that the reduction leaves no bias. */
const seedBytes = 99;
const boxBytes = keyBytes + wrapOverheadBytes;
const wrappedBytes = 2 * compressedPointBytes + boxBytes;

export function createTangSource(url: KeyUrl, { clock, random }: KeySourceContext): HeldKeySource {
  const base = serviceUrl('tang', url.body);
  const thumbprint = requiredOption(url, 'thumbprint');
  if (!/^[A-Za-z0-9_-]{43}$/.test(thumbprint))
    throw invalidKeyUrl(
      'tang',
      'a thumbprint is the S256 of a signing key, 43 characters',
      'See tang-show-keys on the server.',
    );
  const authorityFile = url.options.get('ca-file');
  const server = new TangServer(base, clock, authorityFile);
  return wrappedKeySource(
    {
      kind: 'tang',
      describe: `Tang ${base.host}`,
      async wrap(use) {
        const serverPoint = await server.exchangeKey(thumbprint);
        const scalar = randomScalar(random);
        const clientPoint = p521.Point.BASE.multiply(scalar);
        const shared = serverPoint.multiply(scalar);
        const secret = Uint8Array.from(random.bytes(keyBytes));
        const points = new Uint8Array([...clientPoint.toBytes(true), ...serverPoint.toBytes(true)]);
        const boxKey = boxKeyOf(shared, points);
        const box = wrapBox(boxKey, additionalOf(use, points), secret, random);
        boxKey.fill(0);
        return { wrapped: new Uint8Array([...points, ...box]), secret };
      },
      async unwrap(wrapped, use) {
        if (wrapped.length !== wrappedBytes) throw invalidParameters('tang', 'have the wrong length');
        const points = wrapped.subarray(0, 2 * compressedPointBytes);
        const clientPoint = pointFromBytes(points.subarray(0, compressedPointBytes));
        const serverPoint = pointFromBytes(points.subarray(compressedPointBytes));
        if (clientPoint === undefined || serverPoint === undefined)
          throw invalidParameters('tang', 'hold what is no point of P-521');
        const scalar = randomScalar(random);
        // The server sees a random point, multiplies it with its key, and the blinding is taken off again.
        const asked = clientPoint.add(p521.Point.BASE.multiply(scalar));
        const answered = await server.recover(serverPoint, asked);
        const shared = answered.add(serverPoint.multiply(scalar).negate());
        if (shared.is0()) throw wrongWrap('tang', 'it answers with nothing');
        const boxKey = boxKeyOf(shared, points);
        const secret = unwrapBox(boxKey, additionalOf(use, points), wrapped.subarray(points.length));
        boxKey.fill(0);
        if (secret === undefined) throw wrongWrap('tang', 'what it answers does not fit this slot');
        return secret;
      },
    },
    random,
  );
}

class TangServer {
  readonly #base: string;
  readonly #clock: Clock;
  readonly #authorityFile: string | undefined;

  constructor(base: URL, clock: Clock, authorityFile: string | undefined) {
    this.#base = base.href.replace(/\/$/, '');
    this.#clock = clock;
    this.#authorityFile = authorityFile;
  }

  async exchangeKey(thumbprint: string): Promise<Point> {
    const question = { method: 'GET', url: new URL(`${this.#base}/adv/${thumbprint}`) } as const;
    const answer = await askService('tang', question, this.#clock, this.#tls());
    if (answer.status === 404) {
      throw serviceRefuses(
        'tang',
        `it has no signing key ${thumbprint}`,
        'Check the thumbprint in the URL (tang-show-keys on the server).',
      );
    }
    if (answer.status !== 200) throw serviceAway('tang', `it answered ${answer.status} to the question for its keys`);
    return exchangeKeyOf(answeredObject('tang', answer), thumbprint);
  }

  async recover(serverPoint: Point, asked: Point): Promise<Point> {
    const name = thumbprintOf(jwkOf(serverPoint));
    const question = {
      method: 'POST',
      url: new URL(`${this.#base}/rec/${name}`),
      headers: { 'content-type': 'application/jwk+json' },
      body: JSON.stringify({ alg: 'ECMR', ...jwkOf(asked) }),
    } as const;
    const answer = await askService('tang', question, this.#clock, this.#tls());
    if (answer.status === 404 || answer.status === 400)
      throw wrongWrap('tang', `it has no exchange key ${name}: another server, or its old keys were deleted`);
    if (answer.status !== 200) throw serviceAway('tang', `it answered ${answer.status} to the exchange`);
    const point = pointFromJwk(answeredObject('tang', answer));
    if (point === undefined) throw serviceAway('tang', 'it answered the exchange with what is no point of P-521');
    return point;
  }

  #tls(): ServiceTls {
    const file = this.#authorityFile;
    return file === undefined ? {} : { authorities: readSecretFile(file, 'the authority') };
  }
}

/** Uniform below the order: more bytes than the order has, reduced. */
function randomScalar(random: Random): bigint {
  const seed = Uint8Array.from(random.bytes(seedBytes));
  const bytes = p521.utils.randomSecretKey(seed);
  seed.fill(0);
  const scalar = p521.Point.Fn.fromBytes(bytes);
  bytes.fill(0);
  return scalar;
}

function boxKeyOf(shared: Point, points: Uint8Array): Uint8Array {
  const coordinate = shared.toBytes(true).subarray(1);
  const key = deriveKey(coordinate, points, keyLabel.tangExchange);
  coordinate.fill(0);
  return key;
}

function additionalOf(use: KeyUse, points: Uint8Array): Uint8Array {
  return new Uint8Array([...new TextEncoder().encode(`${useText(use)}\0`), ...points]);
}
