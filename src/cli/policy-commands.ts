/** The commands `caisson policy …`: their words, options and examples. */
import type { CommandSpec, OptionSpec } from './command.ts';

const technologies = ['sgx', 'tdx', 'snp', 'tpm', 'nitro', 'az-snp-vtpm', 'az-tdx-vtpm', 'cca'];

const references: OptionSpec = {
  flags: '--references <file...>',
  description: 'reference values that the policy refers to by name',
};

export const policyCommands: readonly CommandSpec[] = [
  {
    path: 'policy check',
    summary: 'check policies, reference values and test files; tells all problems at once, with line and column',
    arguments: [
      { form: '<file...>', description: 'what to check; reference values among them count for the policies' },
    ],
    options: [references],
    examples: [
      'caisson policy check database.yaml',
      'caisson policy check database.yaml database-images.yaml database.test.yaml',
      'caisson policy check database.yaml --references database-images.yaml -o json',
    ],
    load: () => import('./commands/policy-check.ts'),
  },
  {
    path: 'policy explain',
    summary: 'say what a policy makes of evidence: each rule with what is expected and what is there',
    arguments: [{ form: '<file>', description: 'the policy' }],
    options: [
      {
        flags: '--evidence <file>',
        description: 'a raw quote, report, document or token; or JSON {"technology": ..., "parts": {NAME: base64}}',
        isRequired: true,
      },
      {
        flags: '--collateral <bundle>',
        description: 'certificates, revocation lists and TCB levels to verify it with',
      },
      { flags: '--root <file...>', description: 'certificates (PEM or DER) to trust beside those of the vendors' },
      {
        flags: '--now <time>',
        description: 'judge as of then, such as 2026-11-23T12:00:00Z; default: the time of this machine',
      },
      references,
      { flags: '--key <name>', description: 'the key that is asked for' },
      { flags: '--volume <id>', description: 'the volume that it is for, 32 hexadecimal digits' },
      {
        flags: '--suite <suite>',
        description: 'how the answer is sealed',
        choices: ['mlkem768-x25519', 'x25519', 'p256'],
      },
      { flags: '--create-key', description: 'as if a new key were asked for' },
      { flags: '--advance-anchor', description: 'as if the session were to advance anchors' },
      { flags: '--claims', description: 'list every claim of the evidence too' },
    ],
    examples: [
      'caisson policy explain database.yaml --evidence report.bin --collateral amd-milan.bundle --key database',
      'caisson policy explain database.yaml --evidence quote.json --now 2026-11-23T12:00:00Z --claims -o json',
    ],
    load: () => import('./commands/policy-explain.ts'),
  },
  {
    path: 'policy test',
    summary: 'run the test files of policies',
    arguments: [{ form: '<place...>', description: 'test files, or folders whose *.test.yaml are run' }],
    options: [],
    examples: ['caisson policy test database.test.yaml', 'caisson policy test policies/ -o json'],
    load: () => import('./commands/policy-test.ts'),
  },
  {
    path: 'policy claims',
    summary: 'list the claims that rules can be about',
    arguments: [{ form: '[technology]', description: 'of this technology alone', choices: technologies }],
    options: [],
    examples: ['caisson policy claims snp', 'caisson policy claims -o json'],
    load: () => import('./commands/policy-claims.ts'),
  },
  {
    path: 'policy example',
    summary: 'print a commented policy to start from',
    arguments: [{ form: '<technology>', description: 'what the evidence is of', choices: technologies }],
    options: [],
    examples: ['caisson policy example tpm > machine.yaml'],
    load: () => import('./commands/policy-example.ts'),
  },
];
