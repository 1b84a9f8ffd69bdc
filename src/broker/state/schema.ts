/**
 * The schema of the broker's database, as versioned steps that are never changed once released. Spec:
 * spec/broker-state.md. The words NUMBER and BYTES stand for the types of the dialect, PLACE for what
 * stands before the name of a table.
 */
import { CaissonError } from '../../lib/errors.ts';

export interface Dialect {
  readonly number: string;
  readonly bytes: string;
  /** In front of each table's name. */
  readonly place: string;
  /** After the closing bracket of a table. */
  readonly tableEnd: string;
}

/** Step n leads from version n to version n + 1. */
const steps: readonly (readonly string[])[] = [
  [
    `CREATE TABLE PLACEtenants (name TEXT PRIMARY KEY NOT NULL, admin_token_digest BYTES NOT NULL) END`,
    `CREATE TABLE PLACEvolume_keys (tenant TEXT NOT NULL, name TEXT NOT NULL, id BYTES NOT NULL, wrapped BYTES NOT NULL,
       policy TEXT NOT NULL, created_at NUMBER NOT NULL, erased_at NUMBER, PRIMARY KEY (tenant, name)) END`,
    `CREATE TABLE PLACEvolume_key_ids (tenant TEXT NOT NULL, id BYTES NOT NULL, name TEXT NOT NULL,
       PRIMARY KEY (tenant, id)) END`,
    `CREATE TABLE PLACEdocuments (tenant TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, content TEXT NOT NULL,
       version NUMBER NOT NULL, PRIMARY KEY (tenant, kind, name)) END`,
    `CREATE TABLE PLACEanchors (tenant TEXT NOT NULL, volume_id BYTES NOT NULL, epoch NUMBER NOT NULL,
       manifest_number NUMBER NOT NULL, manifest_digest BYTES NOT NULL, record_sequence NUMBER NOT NULL,
       record_chain BYTES NOT NULL, PRIMARY KEY (tenant, volume_id)) END`,
    `CREATE TABLE PLACEnonces (nonce BYTES PRIMARY KEY NOT NULL, expires_at NUMBER NOT NULL) END`,
    `CREATE INDEX nonces_by_expiry ON PLACEnonces (expires_at)`,
    `CREATE TABLE PLACEsessions (id BYTES PRIMARY KEY NOT NULL, tenant TEXT NOT NULL, key_name TEXT NOT NULL,
       wrapped_secret BYTES NOT NULL, expires_at NUMBER NOT NULL) END`,
    `CREATE INDEX sessions_by_expiry ON PLACEsessions (expires_at)`,
    `CREATE INDEX sessions_by_tenant ON PLACEsessions (tenant)`,
    `CREATE TABLE PLACEcapability_epochs (tenant TEXT NOT NULL, volume_id BYTES NOT NULL, epoch NUMBER NOT NULL,
       PRIMARY KEY (tenant, volume_id)) END`,
    `CREATE TABLE PLACEsettings (name TEXT PRIMARY KEY NOT NULL, content BYTES NOT NULL) END`,
    `CREATE TABLE PLACElog_leaves (place NUMBER PRIMARY KEY NOT NULL, bytes BYTES NOT NULL, hash BYTES NOT NULL)`,
    `CREATE TABLE PLACElog_nodes (level NUMBER NOT NULL, place NUMBER NOT NULL, hash BYTES NOT NULL,
       PRIMARY KEY (level, place)) END`,
    `CREATE TABLE PLACElog_state (one NUMBER PRIMARY KEY NOT NULL, size NUMBER NOT NULL, frontier BYTES NOT NULL) END`,
    `INSERT INTO PLACElog_state (one, size, frontier) VALUES (1, 0, EMPTY)`,
  ],
];

export const schemaVersion = steps.length;

/** The statements that lead from `version` to the newest; throws `format-version` for a version that is newer. */
export function migrationFrom(version: number, dialect: Dialect): string[] {
  if (version > schemaVersion) {
    throw new CaissonError(
      'invalid',
      'format-version',
      `this database is of version ${version}; this broker knows ${schemaVersion}`,
      { remedy: 'Run the broker that wrote it, or a later one.', details: { version, versionMax: schemaVersion } },
    );
  }
  const { number, bytes, place, tableEnd } = dialect;
  const empty = bytes === 'BLOB' ? "x''" : "''";
  return steps
    .slice(version)
    .flat()
    .map((statement) =>
      statement
        .replaceAll('PLACE', place)
        .replaceAll('NUMBER', number)
        .replaceAll('BYTES', bytes)
        .replaceAll('EMPTY', empty)
        .replaceAll(') END', `)${tableEnd}`),
    );
}
