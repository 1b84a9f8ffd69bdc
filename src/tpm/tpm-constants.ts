/** Numbers of the TPM 2.0 Library (Part 2, "Structures") that commands are made of; algorithms are in wire/tpm/algorithms.ts. */

export const Tag = { noSessions: 0x8001, sessions: 0x8002 } as const;

export const Command = {
  EvictControl: 0x120,
  NV_UndefineSpace: 0x122,
  NV_DefineSpace: 0x12a,
  CreatePrimary: 0x131,
  NV_Increment: 0x134,
  NV_Write: 0x137,
  Startup: 0x144,
  ActivateCredential: 0x147,
  NV_Read: 0x14e,
  PolicySecret: 0x151,
  Create: 0x153,
  Load: 0x157,
  Quote: 0x158,
  Unseal: 0x15e,
  FlushContext: 0x165,
  NV_ReadPublic: 0x169,
  PolicyAuthValue: 0x16b,
  ReadPublic: 0x173,
  StartAuthSession: 0x176,
  GetCapability: 0x17a,
  GetRandom: 0x17b,
  PCR_Read: 0x17e,
  PolicyPCR: 0x17f,
  NV_Certify: 0x184,
} as const;
export type CommandName = keyof typeof Command;

/** TPM_RH: the hierarchies and what stands for none. */
export const Hierarchy = { owner: 0x4000_0001, null: 0x4000_0007, endorsement: 0x4000_000b } as const;

/** In place of a session: the plain authorization value. */
export const passwordSession = 0x4000_0009;

/** Where handles of one kind begin. */
export const HandleRange = {
  nv: 0x0100_0000,
  loadedSession: 0x0200_0000,
  savedSession: 0x0300_0000,
  transient: 0x8000_0000,
  persistent: 0x8100_0000,
} as const;

export const SessionType = { hmac: 0x00, policy: 0x01 } as const;

/** TPMA_SESSION. */
export const SessionAttribute = { continueSession: 0x01, decrypt: 0x20, encrypt: 0x40 } as const;

/** TPMA_NV. Bits 4 to 7 are the type of the index. */
export const NvAttribute = {
  ownerWrite: 1 << 1,
  authWrite: 1 << 2,
  counter: 1 << 4,
  ownerRead: 1 << 17,
  authRead: 1 << 18,
  noDictionaryAttack: 1 << 25,
  written: 1 << 29,
} as const;

export const Capability = { handles: 1, pcrs: 5, properties: 6 } as const;

/** TPM_PT. */
export const Property = { manufacturer: 0x105, vendorString: 0x106, firmwareVersion: 0x10b } as const;
