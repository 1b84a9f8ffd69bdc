/** What a broker counts, as text for Prometheus. Labels name technologies, codes and rules, never tenants or keys. */
import { Counter, Gauge, Histogram, Registry } from '@prometheus-io/client';
import type { ReleaseOutcome } from '../release/release.ts';

/** Rules come from policies; beyond so many names the rest is counted as "other". */
const ruleNamesMax = 256;
const verifySeconds = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5];

export class BrokerMetrics {
  readonly #registry = new Registry();
  readonly #ruleNames = new Set<string>();
  readonly #releases = this.#counter('releases_total', 'Keys released', ['technology']);
  readonly #refusals = this.#counter('refusals_total', 'Requests for keys refused', ['technology', 'code']);
  readonly #failedRules = this.#counter('failed_rules_total', 'Rules of policies that refused', ['rule']);
  readonly #requests = this.#counter('requests_total', 'Requests answered', ['route', 'status']);
  readonly #anchors = this.#counter('anchor_advances_total', 'Anchors moved forward', []);
  readonly #verify = new Histogram({
    name: 'caisson_broker_verify_seconds',
    help: 'Time to verify evidence',
    labelNames: ['technology'] as const,
    buckets: verifySeconds,
    registers: [this.#registry],
  });
  readonly #logSize = this.#gauge('log_entries', 'Lines of the release log');

  outcome({ technology, result, failedRules, verifyMilliseconds }: ReleaseOutcome): void {
    if (verifyMilliseconds !== undefined) this.#verify.observe({ technology }, verifyMilliseconds / 1000);
    if (result === 'released') this.#releases.inc({ technology });
    else this.#refusals.inc({ technology, code: result });
    for (const rule of failedRules) this.#failedRules.inc({ rule: this.#known(rule) });
  }

  answered(route: string, status: number): void {
    this.#requests.inc({ route, status: String(status) });
  }

  advanced(count: number): void {
    this.#anchors.inc(count);
  }

  async text(logSize: number): Promise<string> {
    this.#logSize.set(logSize);
    return this.#registry.metrics();
  }

  #known(rule: string): string {
    if (this.#ruleNames.size < ruleNamesMax) this.#ruleNames.add(rule);
    return this.#ruleNames.has(rule) ? rule : 'other';
  }

  #counter<Label extends string>(name: string, help: string, labelNames: readonly Label[]): Counter<Label> {
    return new Counter({
      name: `caisson_broker_${name}`,
      help,
      labelNames: [...labelNames],
      registers: [this.#registry],
    });
  }

  #gauge(name: string, help: string): Gauge {
    return new Gauge({ name: `caisson_broker_${name}`, help, registers: [this.#registry] });
  }
}
