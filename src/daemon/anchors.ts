/**
 * Which anchor a volume has: `file`, or `tpm` with a device and its pace (docs/tpm.md). The list of names says it for every
 * volume that has one; a volume that is just being made has the one that was asked for, else the configured one.
 *
 * Invariant: within one environment a volume has one anchor; a choice is looked up once and kept.
 */
import type { Credential } from '../admin/schema.ts';
import type { Anchor, AnchorState } from '../anchor/anchor.ts';
import { CaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { anchorUrlCharactersMax, tpmAnchorIntervalMilliseconds, tpmAnchorRestMilliseconds } from '../lib/limits.ts';
import type { FileSystem } from '../store/file-system.ts';
import { brokerPlaceOf } from '../keys/broker-place.ts';
import { parseKeyUrl } from '../keys/key-url.ts';
import type { KeyUrl } from '../keys/key-url.ts';
import type { VolumeLog } from '../volume/volume-types.ts';
import type { VolumeNames } from './volume-names.ts';

export const fileAnchorChoice = 'file';

export type AnchorChoice =
  | { readonly kind: 'file' }
  | {
      readonly kind: 'tpm';
      /** As in `parseTpmDevice`; undefined is the default one. */
      readonly device: string | undefined;
      /** Between two writes of the TPM's memory. */
      readonly intervalMilliseconds: number;
      /** Between advances that nobody waits for. */
      readonly restMilliseconds: number;
    }
  | { readonly kind: 'broker'; readonly url: KeyUrl };

const millisecondsMax = 86_400_000;

/** `argument-invalid` for anything but `broker:https://…` as keys have it, `file` and `tpm[:DEVICE][?interval=MS&rest=MS]`. */
export function parseAnchorChoice(text: string): AnchorChoice {
  if (text.length > anchorUrlCharactersMax) throw invalidChoice('it is too long');
  if (text === fileAnchorChoice) return { kind: 'file' };
  if (text.startsWith('broker:')) return brokerChoice(text);
  const [place = '', query, ...rest] = text.split('?');
  if (rest.length > 0 || (place !== 'tpm' && !place.startsWith('tpm:'))) throw invalidChoice('it is of no known kind');
  const options = new Map<string, number>([
    ['interval', tpmAnchorIntervalMilliseconds],
    ['rest', tpmAnchorRestMilliseconds],
  ]);
  for (const option of query?.split('&') ?? []) {
    const [, name = '', digits] = /^([a-z]+)=(\d{1,8})$/.exec(option) ?? [];
    if (digits === undefined || !options.has(name) || Number(digits) > millisecondsMax)
      throw invalidChoice(`it has no option ${JSON.stringify(option)}`);
    options.set(name, Number(digits));
  }
  const device = place.substring('tpm:'.length);
  return {
    kind: 'tpm',
    device: device === '' ? undefined : device,
    intervalMilliseconds: options.get('interval') ?? 0,
    restMilliseconds: options.get('rest') ?? 0,
  };
}

function brokerChoice(text: string): AnchorChoice {
  const url = parseKeyUrl(text);
  brokerPlaceOf(url);
  return { kind: 'broker', url };
}

function invalidChoice(reason: string): CaissonError {
  return new CaissonError('invalid', 'argument-invalid', `the anchor cannot be used: ${reason}`, {
    remedy:
      'Anchors are file, tpm and tpm:DEVICE, with ?interval=MILLISECONDS&rest=MILLISECONDS behind a TPM, and broker:https://HOST:PORT/TENANT/KEY; where the key is of a broker, broker alone is the same.',
  });
}

export interface AnchorParts {
  readonly folder: string;
  readonly fileSystem: FileSystem;
  readonly names: Pick<VolumeNames, 'list'>;
  /** Of volumes that no name leads to: what a new one is asked to have. */
  readonly choiceOfNew: string;
  readonly log?: VolumeLog;
}

/** Opens each kind of anchor when the first volume needs it. */
export function createAnchors(parts: AnchorParts): Anchor {
  return new ChosenAnchors(parts);
}

class ChosenAnchors implements Anchor {
  readonly describe = 'Shows when an old copy of the store is put back, by the anchor that each volume was given.';
  readonly #parts: AnchorParts;
  /** Volume -> its choice. */
  readonly #choices = new Map<string, string>();
  /** Choice -> the anchor. */
  readonly #opened = new Map<string, Promise<Anchor>>();

  constructor(parts: AnchorParts) {
    this.#parts = parts;
  }

  async read(volumeId: Uint8Array): Promise<AnchorState | undefined> {
    return (await this.#anchorOf(volumeId)).read(volumeId);
  }

  async advance(state: AnchorState): Promise<void> {
    await (await this.#anchorOf(state.volumeId)).advance(state);
  }

  async forget(volumeId: Uint8Array): Promise<void> {
    await (await this.#anchorOf(volumeId)).forget(volumeId);
    this.#choices.delete(toHex(volumeId));
  }

  restMilliseconds(volumeId: Uint8Array): number {
    const choice = parseAnchorChoice(this.#choiceOf(volumeId));
    return choice.kind === 'tpm' ? choice.restMilliseconds : 0;
  }

  async #anchorOf(volumeId: Uint8Array): Promise<Anchor> {
    const choice = this.#choiceOf(volumeId);
    const known = this.#opened.get(choice);
    if (known !== undefined) return known;
    const opening = openAnchor(choice, this.#parts);
    this.#opened.set(choice, opening);
    opening.catch(() => this.#opened.delete(choice)); // the next call tries again
    return opening;
  }

  #choiceOf(volumeId: Uint8Array): string {
    const id = toHex(volumeId);
    const known = this.#choices.get(id);
    if (known !== undefined) return known;
    const { names, choiceOfNew } = this.#parts;
    const named = [...names.list().values()].find((entry) => entry.volumeId === id);
    const choice = named === undefined ? choiceOfNew : (named.anchor ?? fileAnchorChoice);
    this.#choices.set(id, choice);
    return choice;
  }
}

async function openAnchor(text: string, { folder, fileSystem, log }: AnchorParts): Promise<Anchor> {
  const choice = parseAnchorChoice(text);
  switch (choice.kind) {
    case 'file':
      return (await import('../anchor/file-anchor.ts')).openFileAnchor(fileSystem, folder);
    case 'tpm': {
      const [{ openTpmAnchor }, { createTpmRegister }] = await Promise.all([
        import('../anchor/tpm-anchor.ts'),
        import('../anchor/tpm-register.ts'),
      ]);
      const { device, intervalMilliseconds } = choice;
      return openTpmAnchor({ fileSystem, folder, register: createTpmRegister(device), intervalMilliseconds });
    }
    case 'broker':
      return (await import('./broker-anchors.ts')).openBrokerAnchor(choice.url, log);
  }
}

/** The one that is asked for, else the configured one; refused before anything is made. */
export function anchorChoice(
  asked: string | undefined,
  { configuration }: { readonly configuration: { readonly anchor: string } },
  /** `broker` alone means the broker, the tenant and the key of this one. */
  credential?: Credential,
): string {
  const text = asked ?? configuration.anchor;
  const isOfKey = text === 'broker' && credential?.kind === 'url' && credential.url.startsWith('broker:');
  const choice = isOfKey ? credential.url : text;
  parseAnchorChoice(choice);
  return choice;
}

/** What the list of names keeps of the choice: nothing for the file, which is what an entry without one means. */
export function anchorOfEntry(choice: string): { readonly anchor?: string } {
  return choice === fileAnchorChoice ? {} : { anchor: choice };
}
