/** Holders of capabilities and a daemon that lets them in, over the real command. */
import type { TestContext } from 'node:test';
import { Home } from './caisson.ts';
import { NbdClient } from './nbd-client.ts';

export interface OpenedPart {
  readonly uri: string;
  readonly export: string;
  readonly socket: string;
  readonly size: number;
  readonly rights: string[];
}

/** A home with a served volume of 16 MiB, and with holders of capabilities. */
export class CapabilityBench {
  readonly home: Home;

  constructor(context: TestContext) {
    this.home = new Home(context);
  }

  get socket(): string {
    return this.home.path('parts.sock');
  }

  async serve(...names: string[]): Promise<void> {
    for (const name of names) await this.home.createVolume(name);
    await this.home.serve([...names, '--capability-socket', this.socket]);
  }

  async holder(name: string): Promise<string> {
    const { publicKey } = (await this.home.json(['capability', 'keygen', `${name}.key`])) as unknown as {
      publicKey: string;
    };
    return publicKey;
  }

  /** A holder, and a capability of it in a file of its name. */
  async grant(holder: string, bounds: string, volume = 'data'): Promise<void> {
    const publicKey = await this.holder(holder);
    const words = ['capability', 'mint', volume, '--holder', publicKey, '--out', `${holder}.capability`];
    await this.home.json([...words, ...bounds.split(' ')]);
  }

  async narrow(from: string, to: string, bounds: string): Promise<void> {
    const publicKey = await this.holder(to);
    await this.home.json(this.narrowing(from, publicKey, `${to}.capability`, bounds));
  }

  narrowing(from: string, to: string, out: string, bounds: string): string[] {
    const words = [
      'capability',
      'narrow',
      `${from}.capability`,
      '--holder-key',
      `${from}.key`,
      '--to',
      to,
      '--out',
      out,
    ];
    return [...words, ...bounds.split(' ')];
  }

  opening(token: string, key = token): string[] {
    return this.showing('open', token, key);
  }

  showing(act: string, token: string, key = token): string[] {
    return ['capability', act, `${token}.capability`, '--holder-key', `${key}.key`, '--socket', this.socket];
  }

  async open(holder: string): Promise<OpenedPart> {
    return (await this.home.json(this.opening(holder))) as unknown as OpenedPart;
  }

  async connect(context: TestContext, opened: OpenedPart): Promise<NbdClient> {
    const client = await NbdClient.connect({ path: opened.socket });
    context.after(() => client.destroy());
    await client.open(opened.export);
    return client;
  }
}
