/** What the certificates are called in the table that a SEV-SNP host hands to its guest (spec/attestation-snp.md, "Certificate table"): GUIDs as bytes. */
export type TableCertificate = 'vcek' | 'vlek' | 'ask' | 'ark';

export const certificateGuids: Readonly<Record<TableCertificate, string>> = {
  vcek: '63da758de6644564adc5f4b93be8accd',
  vlek: 'a8074bc2a25a483eaae639c045a0b8a1',
  ask: '4ab7b379bbac4fe4a02f05aef327c782',
  ark: 'c0b406a4a803495297433fb6014cd0ae',
};
