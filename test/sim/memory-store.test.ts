import { storeConformance } from '../conformance/store.ts';
import { MemoryMedium, MemoryStore } from './memory-store.ts';

storeConformance('memory', async () => {
  const medium = new MemoryMedium();
  return { open: async () => new MemoryStore(medium), dispose: async () => {} };
});
