/** `caisson policy claims [TECHNOLOGY]`. */
import type { PolicyClaims } from '../../admin/broker-tools.ts';
import type { RunCommand } from '../command.ts';
import { table } from '../output.ts';

export const run: RunCommand = async (context, [technology]) => {
  const tools = await (await context.broker()).policies();
  const technologies = await tools.claims(technology);
  const listed = technologies.map(({ technology: name, claims }) => ({
    technology: name,
    claims: claims.map((claim) => ({ ...claim, bytes: claim.bytes ?? null })),
  }));
  context.output.result({ technologies: listed }, () => technologies.map(textOf).join('\n\n'));
};

function textOf({ technology, claims }: PolicyClaims): string {
  const rows = claims.map(({ name, kind, bytes, mustBeJudged, isOptional, about }) => [
    name,
    bytes === undefined ? kind : `${kind} ${bytes}`,
    [...(mustBeJudged ? ['must be judged'] : []), ...(isOptional ? ['may be absent'] : [])].join(', ') || '-',
    about,
  ]);
  return table([[technology.toUpperCase(), 'KIND', 'POLICIES', 'ABOUT'], ...rows]);
}
