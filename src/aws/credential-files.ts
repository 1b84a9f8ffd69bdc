/** The shared files of the AWS tools, `~/.aws/credentials` and `~/.aws/config`, as far as they hold keys or name a web identity. */
import fs from 'node:fs';
import { CaissonError, messageOf } from '../lib/errors.ts';
import type { Environment } from '../lib/folders.ts';
import { s3FileBytesMax } from '../lib/limits.ts';
import type { Credentials } from './credential-source.ts';

export type FoundProfile =
  | { readonly kind: 'keys'; readonly credentials: Credentials }
  | { readonly kind: 'web-identity'; readonly tokenFile: string; readonly roleArn: string };

/** What only the AWS tools themselves can follow. */
const foreignSettings = ['sso_session', 'sso_start_url', 'credential_process', 'source_profile', 'credential_source'];

/** Undefined when there is no such profile and nobody asked for it by name. */
export function readProfile(environment: Environment, wanted: string | undefined): FoundProfile | undefined {
  const named = wanted ?? (environment['AWS_PROFILE'] || undefined);
  const name = named ?? 'default';
  const home = environment['HOME'];
  const inHome = (file: string): string | undefined => (home === undefined ? undefined : `${home}/.aws/${file}`);
  const settings = {
    ...sectionOf(environment['AWS_CONFIG_FILE'] ?? inHome('config'), name === 'default' ? name : `profile ${name}`),
    ...sectionOf(environment['AWS_SHARED_CREDENTIALS_FILE'] ?? inHome('credentials'), name),
  };
  const {
    aws_access_key_id: accessKeyId,
    aws_secret_access_key: secretAccessKey,
    aws_session_token: sessionToken,
    web_identity_token_file: tokenFile,
    role_arn: roleArn,
  } = settings;
  const foreign = foreignSettings.find((setting) => setting in settings);
  if (accessKeyId !== undefined && secretAccessKey !== undefined && foreign === undefined) {
    const session = sessionToken === undefined ? {} : { sessionToken };
    return { kind: 'keys', credentials: { accessKeyId, secretAccessKey, ...session } };
  }
  if (tokenFile !== undefined && roleArn !== undefined) return { kind: 'web-identity', tokenFile, roleArn };
  if (named === undefined && foreign === undefined) return undefined;
  const reason = foreign === undefined ? 'holds no keys' : `uses ${foreign}, which only the AWS tools can follow`;
  throw new CaissonError('denied', 'store-credentials-missing', `the profile ${name} ${reason}`, {
    remedy: 'Export its keys into the environment: eval "$(aws configure export-credentials --format env)".',
    details: { profile: name },
  });
}

/** A small file that must be there; without the white space around it. */
export function textFile(file: string): string {
  return new TextDecoder().decode(smallFile(file)).trim();
}

export function smallFile(file: string): Uint8Array {
  try {
    const { size } = fs.statSync(file);
    if (size > s3FileBytesMax) throw new Error(`it has ${size} bytes, at most ${s3FileBytesMax} are read`);
    return new Uint8Array(fs.readFileSync(file));
  } catch (error) {
    throw new CaissonError('invalid', 'configuration-invalid', `${file} cannot be read: ${messageOf(error)}`, {
      remedy: 'Check the path and its permissions.',
      details: { path: file },
      cause: error,
    });
  }
}

/** Empty where there is no such file or section. */
function sectionOf(file: string | undefined, name: string): Record<string, string> {
  if (file === undefined || !fs.existsSync(file)) return {};
  const settings: Record<string, string> = {};
  let isWanted = false;
  for (const line of new TextDecoder().decode(smallFile(file)).split(/\r?\n/)) {
    const header = /^\s*\[\s*([^\]]*?)\s*\]/.exec(line)?.[1];
    if (header !== undefined) isWanted = header.replace(/\s+/, ' ') === name;
    // A line that is indented belongs to a setting with several parts; none of those matters here.
    const setting = /^([A-Za-z_]+)\s*=\s*(.*?)\s*$/.exec(line);
    if (header === undefined && isWanted && setting !== null) settings[setting[1]!.toLowerCase()] = setting[2]!;
  }
  return settings;
}
