/**
 * How long a thread has had a message, seen from outside: shared memory, so that it can be read while the
 * thread is busy. Waiting for Redis does not count; the message is not to blame for it.
 */
export type ParseClock = Float64Array<SharedArrayBuffer>;

const startedAt = 0;
const waited = 1;
const waitingSince = 2;

export function newParseClock(): ParseClock {
  return new Float64Array(new SharedArrayBuffer(3 * Float64Array.BYTES_PER_ELEMENT));
}

export function startClock(clock: ParseClock): void {
  clock[startedAt] = Date.now();
}

export function clockStarted(clock: ParseClock): boolean {
  return clock[startedAt] !== 0;
}

/** Stops the clock while `step` runs. One step at a time. */
export async function offTheClock<T>(clock: ParseClock, step: () => Promise<T>): Promise<T> {
  clock[waitingSince] = Date.now();
  try {
    return await step();
  } finally {
    clock[waited] = (clock[waited] ?? 0) + waiting(clock, Date.now());
    clock[waitingSince] = 0;
  }
}

/** Milliseconds the clock has counted; 0 before it was started. */
export function timeUsed(clock: ParseClock, now = Date.now()): number {
  const start = clock[startedAt] ?? 0;
  return start === 0 ? 0 : now - start - (clock[waited] ?? 0) - waiting(clock, now);
}

function waiting(clock: ParseClock, now: number): number {
  const since = clock[waitingSince] ?? 0;
  return since === 0 ? 0 : now - since;
}
