/**
 * Where a sparse file holds data: lseek with SEEK_DATA and SEEK_HOLE, which node:fs lacks. Where it cannot be
 * asked (no node:ffi, a file system that does not know) everything counts as data.
 */
import { native } from './native.ts';

const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const ENXIO = 6;

export interface DataStretch {
  readonly offset: number; // bytes
  readonly length: number; // bytes
}

/** Kept for the life of the process: the functions of a collected library jump into nothing. */
const libraries: object[] = [];

type SeekData = (descriptor: number, offset: number, size: number) => DataStretch | undefined;

/** The first stretch of data at or behind `offset`; undefined when only a hole follows up to `size`. */
export const nextDataOfFile: SeekData = load() ?? ((_descriptor, offset, size) => ({ offset, length: size - offset }));

function load(): SeekData | undefined {
  if (process.platform !== 'linux' || native === undefined) return undefined;
  const entrance = native;
  try {
    const { lib, functions } = entrance.dlopen(null, {
      lseek: { arguments: ['i32', 'i64', 'i32'], return: 'i64' },
      __errno_location: { arguments: [], return: 'pointer' },
    });
    const errno = (): number => entrance.getInt32(functions.__errno_location(), 0);
    libraries.push(lib);
    return (descriptor, offset, size) => {
      const data = Number(functions.lseek(descriptor, BigInt(offset), SEEK_DATA));
      if (data < 0) return errno() === ENXIO ? undefined : { offset, length: size - offset };
      const hole = Number(functions.lseek(descriptor, BigInt(data), SEEK_HOLE));
      return { offset: data, length: (hole < 0 ? size : hole) - data };
    };
  } catch {
    return undefined;
  }
}
