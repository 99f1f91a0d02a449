import { createHash } from "node:crypto";

/** Chance that is the same for the same seed. */
export interface Random {
  /** From 0 up to, but not, 1. */
  next(): number;
  /** A whole number from `min` to `max`, both included. */
  integer(min: number, max: number): number;
  /** True in `share` of all cases. */
  chance(share: number): boolean;
  pick<T>(list: readonly T[]): T;
  shuffled<T>(list: readonly T[]): T[];
  /** Chance of its own, told by a name: drawing from it does not move this one. */
  fork(name: string): Random;
}

/** Chance out of a text: the 32 bit generator sfc32, started with the text's SHA-256. */
export function seeded(seed: string): Random {
  const digest = createHash("sha256").update(seed).digest();
  let [a, b, c, count] = [0, 4, 8, 12].map((at) => digest.readUInt32LE(at)) as [
    number,
    number,
    number,
    number,
  ];
  const next = () => {
    const sum = (a + b + count) | 0;
    count = (count + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return (sum >>> 0) / 2 ** 32;
  };
  // The generator's first numbers still show what it was started with.
  for (let i = 0; i < 12; i++) next();
  const integer = (min: number, max: number) => min + Math.floor(next() * (max - min + 1));
  return {
    next,
    integer,
    chance: (share) => next() < share,
    pick: (list) => list[integer(0, list.length - 1)] as (typeof list)[number],
    shuffled(list) {
      const rest = [...list];
      return list.map(() => rest.splice(integer(0, rest.length - 1), 1)[0] as (typeof list)[number]);
    },
    fork: (name) => seeded(`${seed}/${name}`),
  };
}
