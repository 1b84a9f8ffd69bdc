import { anchorConformance } from '../conformance/anchor.ts';
import { MemoryAnchor } from './memory-anchor.ts';

anchorConformance('memory', async () => {
  const anchor = new MemoryAnchor();
  return { open: async () => anchor, dispose: async () => {} };
});
