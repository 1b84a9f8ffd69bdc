/** What a holder asks of a daemon beside opening its part, and what it signs for that (spec/capability-format.md, section 6). */
import { ByteWriter } from '../lib/byte-codec.ts';

export type CapabilityAct = 'open-snapshot' | 'serve' | 'snapshots' | 'snapshot-create' | 'snapshot-remove' | 'resize';

const encoder = new TextEncoder();
const label = encoder.encode('caisson capability act v1\0');

/** The challenge of the proof: with it whoever passes a daemon's challenge on gets no other act than the holder meant. */
export function actStatement(act: CapabilityAct, argument: string, challenge: Uint8Array): Uint8Array {
  const writer = new ByteWriter().bytes(label).block(encoder.encode(act)).block(encoder.encode(argument));
  return writer.bytes(challenge).finish();
}
