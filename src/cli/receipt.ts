/** The receipt of an erasure, for people. */
import type { EraseReceiptAnswer } from '../admin/schema.ts';
import { timeText } from './lineage.ts';

export function receiptRows(receipt: EraseReceiptAnswer): string[][] {
  const { volumeId, time, manifestNumber, manifestDigest, epoch, writerKey } = receipt;
  return [
    ['erased', `volume ${volumeId}, ${timeText(time)} by the eraser's clock`],
    ['receipt', `manifest ${manifestNumber}, SHA-256 ${manifestDigest}`],
    ['signed by', `epoch ${epoch}, key ${writerKey}`],
  ];
}
