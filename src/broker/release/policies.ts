/**
 * The policies of tenants as the database holds them, compiled and kept for a moment.
 *
 * Invariant: a policy is judged with the reference values of its own tenant, all read at one time.
 */
import { CaissonError } from '../../lib/errors.ts';
import { brokerPoliciesCachedMax, brokerPolicyCacheMilliseconds } from '../../lib/broker-limits.ts';
import { parsePolicy } from '../policy/policy.ts';
import type { Definitions, Policy } from '../policy/policy.ts';
import { collectReferences, parseReferenceSet } from '../policy/references.ts';
import type { References } from '../policy/references.ts';
import type { BrokerDatabase } from '../state/broker-database.ts';

interface Kept {
  readonly policy: Promise<Policy>;
  readonly until: number;
}

export class Policies {
  readonly #database: BrokerDatabase;
  readonly #definitions: Definitions;
  readonly #kept = new Map<string, Kept>();

  constructor(database: BrokerDatabase, definitions: Definitions) {
    this.#database = database;
    this.#definitions = definitions;
  }

  /** `policy-missing`; `policy-invalid` where its reference values are gone. */
  async get(tenant: string, name: string, now: number): Promise<Policy> {
    const place = `${tenant}/${name}`;
    const kept = this.#kept.get(place);
    if (kept !== undefined && now < kept.until && now >= kept.until - brokerPolicyCacheMilliseconds) return kept.policy;
    const policy = this.#read(tenant, name);
    if (this.#kept.size >= brokerPoliciesCachedMax) this.#kept.clear();
    this.#kept.set(place, { policy, until: now + brokerPolicyCacheMilliseconds });
    policy.catch(() => this.#kept.delete(place));
    return policy;
  }

  /** After a change that this process made. */
  forget(): void {
    this.#kept.clear();
  }

  /**
   * What an administrator is about to store; returns the name that the text gives itself.
   * `policy-invalid` with everything that is wrong, also where another name is asked for.
   */
  async check(
    tenant: string,
    kind: 'policy' | 'reference-values',
    asked: string | undefined,
    text: string,
  ): Promise<string> {
    const label = asked ?? kind;
    if (kind === 'policy') {
      const policy = parsePolicy(text, label, this.#definitions, await this.#references(tenant));
      checkOwnName('policy', policy.name, asked);
      return policy.name;
    }
    const set = parseReferenceSet(text, label);
    checkOwnName('set of reference values', set.name, asked);
    const others = (await this.#sets(tenant)).filter((other) => other.name !== set.name);
    await this.#checkPolicies(tenant, collectReferences([...others, set]));
    return set.name;
  }

  /** Before reference values are removed: every policy must do without them. */
  async checkWithout(tenant: string, name: string): Promise<void> {
    const others = (await this.#sets(tenant)).filter((other) => other.name !== name);
    await this.#checkPolicies(tenant, collectReferences(others));
  }

  async #checkPolicies(tenant: string, references: References): Promise<void> {
    for (const { name, text } of await this.#database.documents(tenant, 'policy'))
      parsePolicy(text, name, this.#definitions, references);
  }

  async #read(tenant: string, name: string): Promise<Policy> {
    const document = await this.#database.document(tenant, 'policy', name);
    if (document === undefined) {
      throw new CaissonError('invalid', 'policy-missing', `the tenant has no policy ${name}`, {
        remedy: 'Store it with "caisson broker policy-put".',
        details: { policy: name },
      });
    }
    return parsePolicy(document.text, name, this.#definitions, await this.#references(tenant));
  }

  async #references(tenant: string): Promise<References> {
    return collectReferences(await this.#sets(tenant));
  }

  async #sets(tenant: string): Promise<ReturnType<typeof parseReferenceSet>[]> {
    const documents = await this.#database.documents(tenant, 'reference-values');
    return documents.map(({ name, text }) => parseReferenceSet(text, name));
  }
}

/** A document is found by the name within it: two names for one text would make logs ambiguous. */
function checkOwnName(what: string, own: string, asked: string | undefined): void {
  if (asked === undefined || own === asked) return;
  throw new CaissonError('invalid', 'policy-invalid', `the ${what} calls itself ${own}, not ${asked}`, {
    remedy: `Ask for no name, or for ${own}; or change the name in the text.`,
  });
}
