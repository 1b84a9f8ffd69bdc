/** Between `segment-digester.ts` and its worker thread. */
export interface DigestRequest {
  readonly id: number;
  readonly path: string;
  readonly length: number;
}

export type DigestAnswer =
  | { readonly id: number; readonly digest: Uint8Array }
  | { readonly id: number; readonly errno: string; readonly message: string };
