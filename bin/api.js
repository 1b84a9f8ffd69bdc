// The package's entry for programs: an old Node is told so, before it meets code that it cannot link.
import { createRequire } from 'node:module';
import { complaint } from './node-version.cjs';

const problem = complaint(process.versions.node);
if (problem !== '') throw new Error(`caisson: ${problem}`);
const api = createRequire(import.meta.url)('../dist/src/api.js');

export const { createVolume, openVolume, inspectVolume, listVolumes, removeVolume, verifyVolume } = api;
export const { openSnapshot, listSnapshots, diffSnapshots, eraseVolume, checkReceipt, readReceipt } = api;
export const { locateMove, removeMovedSource } = api;
export const { createHashedVolume, openHashedVolume, OpenHashedVolume, verifyHashedVolume } = api;
export const { CaissonError, OpenVolume, Region, isCaissonError } = api;
