/** Policies as a TPM computes them (Part 3, "Enhanced Authorization"), so that an object is made under one without asking it. Pure. */
import { sha256 } from '../crypto/digest.ts';
import { TpmWriter } from '../wire/tpm/codec.ts';
import { writePcrSelection } from '../wire/tpm/pcr-selection.ts';
import type { PcrBankSelection } from '../wire/tpm/pcr-selection.ts';
import { Command } from './tpm-constants.ts';

const start = new Uint8Array(32);

/** Opens while the registers have these values, and where `hasPin` for whoever knows the PIN. */
export function registersPolicy(bank: PcrBankSelection, values: readonly Uint8Array[], hasPin: boolean): Uint8Array {
  const command = new TpmWriter().u32(Command.PolicyPCR);
  const policy = sha256(start, writePcrSelection(command, [bank]).finish(), sha256(...values));
  return hasPin ? sha256(policy, new TpmWriter().u32(Command.PolicyAuthValue).finish()) : policy;
}
