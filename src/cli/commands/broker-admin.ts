/** The commands that administer a broker: `caisson broker tenant-add`, `key-ls`, `policy-put` and their like. */
import { closeSync, fsyncSync, openSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { BrokerAdmin } from '../../admin/broker-tools.ts';
import { CaissonError, messageOf } from '../../lib/errors.ts';
import { brokerDocumentBytesMax } from '../../lib/broker-limits.ts';
import type { CommandContext, CommandOptions, RunCommand } from '../command.ts';
import { confirmByName } from '../confirm.ts';
import { textOption } from '../keys.ts';
import { printable, table } from '../output.ts';

type Answer = Readonly<Record<string, unknown>>;

export const status: RunCommand = async (context, _args, options) => {
  const answer = await ask(context, options, 'status', {});
  context.output.result(answer, () =>
    table([
      ['version', text(answer['version'])],
      ['identity', text(answer['brokerId'])],
      ['database', text(answer['database'])],
      ['tenants', text(answer['tenants'])],
      ['log', `${text(answer['logSize'])} entries, root ${text(answer['logRoot'])}`],
    ]),
  );
};

export const tenantAdd: RunCommand = (context, [tenant = ''], options) =>
  saveToken(context, options, 'tenant-add', tenant);
export const tenantToken: RunCommand = (context, [tenant = ''], options) =>
  saveToken(context, options, 'tenant-token', tenant);

export const tenantLs: RunCommand = async (context, _args, options) => {
  const answer = await ask(context, options, 'tenant-ls', {});
  context.output.result(answer, () => (answer['tenants'] as string[]).join('\n'));
};

export const tenantRm: RunCommand = async (context, [tenant = ''], options) => {
  await confirmByName(tenant, options, `All keys of ${tenant} are destroyed`, 'removed');
  context.output.result(await ask(context, options, 'tenant-rm', { tenant }), () => `removed ${tenant}`);
};

export const keyLs: RunCommand = async (context, _args, options) => {
  const answer = await ask(context, options, 'key-ls', { tenant: tenantOf(options) });
  const keys = answer['keys'] as readonly Record<string, unknown>[];
  context.output.result(answer, () =>
    table([
      ['KEY', 'POLICY', 'CREATED', 'STATE'],
      ...keys.map(({ key, policy, createdAt, erasedAt }) => [
        text(key),
        text(policy),
        date(createdAt),
        erasedAt === null ? 'in use' : `destroyed ${date(erasedAt)}`,
      ]),
    ]),
  );
};

export const keyCreate: RunCommand = async (context, [key = ''], options) => {
  const request = { tenant: tenantOf(options), key, policy: textOption(options, 'policy') };
  const answer = await ask(context, options, 'key-create', request);
  context.output.result(answer, () => `created ${key}, id ${text(answer['id'])}`);
};

export const keySetPolicy: RunCommand = async (context, [key = ''], options) => {
  const policy = textOption(options, 'policy') ?? '';
  const answer = await ask(context, options, 'key-set-policy', { tenant: tenantOf(options), key, policy });
  context.output.result(answer, () => `${key} is guarded by ${policy} from now on`);
};

export const keyErase: RunCommand = async (context, [key = ''], options) => {
  await confirmByName(key, options, `What was sealed with ${key} can never be read again`, 'destroyed');
  const receipt = await ask(context, options, 'key-erase', { tenant: tenantOf(options), key });
  context.output.result(
    receipt,
    () =>
      `destroyed ${key}, id ${text(receipt['id'])}, at ${date(receipt['erasedAt'])}: line ${text(receipt['logIndex'])} of the release log`,
  );
};

export const keyRewrap: RunCommand = async (context, _args, options) => {
  const answer = await ask(context, options, 'key-rewrap', { tenant: tenantOf(options) });
  context.output.result(answer, () => `wrapped ${text(answer['keys'])} keys anew`);
};

export function putDocument(word: 'policy' | 'reference'): RunCommand {
  return async (context, [file = ''], options) => {
    const name = textOption(options, 'name');
    const content = readDocument(resolve(file));
    const request = { tenant: tenantOf(options), text: content, ...(name === undefined ? {} : { name }) };
    const answer = await ask(context, options, `${word}-put`, request);
    context.output.result(
      answer,
      () => `stored ${text(answer['name'])}, version ${text(answer['version'])}, sha256 ${text(answer['digest'])}`,
    );
  };
}

export function listDocuments(word: 'policy' | 'reference'): RunCommand {
  return async (context, _args, options) => {
    const answer = await ask(context, options, `${word}-ls`, { tenant: tenantOf(options) });
    const documents = answer['documents'] as readonly Record<string, unknown>[];
    context.output.result(answer, () =>
      table([
        ['NAME', 'VERSION', 'SHA256'],
        ...documents.map(({ name, version, digest }) => [text(name), text(version), text(digest)]),
      ]),
    );
  };
}

export function showDocument(word: 'policy' | 'reference'): RunCommand {
  return async (context, [name = ''], options) => {
    const answer = await ask(context, options, `${word}-show`, { tenant: tenantOf(options), name });
    context.output.result(answer, () => text(answer['text']).trimEnd());
  };
}

export function removeDocument(word: 'policy' | 'reference'): RunCommand {
  return async (context, [name = ''], options) => {
    const answer = await ask(context, options, `${word}-rm`, { tenant: tenantOf(options), name });
    context.output.result(answer, () => `removed ${name}`);
  };
}

export const sessionRevoke: RunCommand = async (context, _args, options) => {
  const [session, key] = [textOption(options, 'session'), textOption(options, 'key')];
  const request = {
    tenant: tenantOf(options),
    ...(session === undefined ? {} : { session }),
    ...(key === undefined ? {} : { key }),
  };
  context.output.result(await ask(context, options, 'session-revoke', request), () => 'revoked');
};

export const anchorShow: RunCommand = async (context, [volumeId = ''], options) => {
  const answer = await ask(context, options, 'anchor-show', { tenant: tenantOf(options), volumeId });
  const state = answer['state'] as Answer | null;
  context.output.result(answer, () =>
    state === null ? 'no anchor' : table(Object.entries(state).map(([name, value]) => [name, text(value)])),
  );
};

export const anchorForget: RunCommand = async (context, [volumeId = ''], options) => {
  await confirmByName(volumeId, options, 'Old copies of this volume will no longer be refused', 'forgotten');
  const answer = await ask(context, options, 'anchor-forget', { tenant: tenantOf(options), volumeId });
  context.output.result(answer, () => `forgot ${volumeId}`);
};

export const capabilityRevoke: RunCommand = async (context, [volumeId = ''], options) => {
  const answer = await ask(context, options, 'capability-revoke', { tenant: tenantOf(options), volumeId });
  context.output.result(answer, () => `capabilities from before epoch ${text(answer['epoch'])} hold no longer`);
};

export const logDownload: RunCommand = async (context, [file = ''], options) => {
  const answer = await withAdmin(context, options, (admin) => admin.downloadLog(resolve(file)));
  context.output.result({ file: resolve(file), ...answer }, () => `saved ${answer.entries} entries in ${file}`);
};

async function saveToken(
  context: CommandContext,
  options: CommandOptions,
  operation: string,
  tenant: string,
): Promise<void> {
  const file = resolve(textOption(options, 'saveToken') ?? '');
  // The file first: a token that nobody could keep would be of no use.
  const descriptor = openNew(file);
  try {
    const { token } = await ask(context, options, operation, { tenant });
    writeFileSync(descriptor, `${text(token)}\n`);
    fsyncSync(descriptor);
  } catch (error) {
    // Made a moment ago by us: left there, it would be in the way of the next attempt.
    unlinkSync(file);
    throw error;
  } finally {
    closeSync(descriptor);
  }
  context.output.result({ tenant, tokenFile: file }, () => `the token of ${tenant} is in ${file}`);
}

function openNew(file: string): number {
  try {
    return openSync(file, 'wx', 0o600);
  } catch (cause) {
    throw new CaissonError('invalid', 'argument-invalid', `${file} cannot be made: ${messageOf(cause)}`, {
      remedy: 'Give the name of a new file with --save-token.',
      cause,
    });
  }
}

function readDocument(file: string): string {
  try {
    const bytes = readFileSync(file);
    if (bytes.length <= brokerDocumentBytesMax) return bytes.toString('utf8');
    throw new Error(`it is larger than ${brokerDocumentBytesMax} bytes`);
  } catch (cause) {
    throw new CaissonError('invalid', 'argument-invalid', `${file} cannot be read: ${messageOf(cause)}`, { cause });
  }
}

function ask(
  context: CommandContext,
  options: CommandOptions,
  operation: string,
  request: Readonly<Record<string, unknown>>,
): Promise<Answer> {
  return withAdmin(context, options, (admin) => admin.ask(operation, request));
}

async function withAdmin<Value>(
  context: CommandContext,
  options: CommandOptions,
  act: (admin: BrokerAdmin) => Promise<Value>,
): Promise<Value> {
  const [authority, token] = [textOption(options, 'caFile'), textOption(options, 'tokenFile')];
  const tools = await context.broker();
  const admin = await tools.admin({
    url: textOption(options, 'broker'),
    authorityFile: authority === undefined ? undefined : resolve(authority),
    fingerprint: textOption(options, 'fingerprint')?.replaceAll(':', '').toLowerCase(),
    tokenFile: token === undefined ? undefined : resolve(token),
  });
  try {
    return await act(admin);
  } finally {
    admin.close();
  }
}

function tenantOf(options: CommandOptions): string {
  return textOption(options, 'tenant') ?? '';
}

function text(value: unknown): string {
  return printable(typeof value === 'string' ? value : JSON.stringify(value));
}

function date(value: unknown): string {
  return typeof value === 'number' ? new Date(value).toISOString() : '';
}
