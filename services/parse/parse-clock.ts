/**
 * How long a thread has had a message, and which one of its batch, seen from outside: shared memory, so that it can
 * be read while the thread is busy. Waiting for Redis does not count; the message is not to blame for it.
 */
export type ParseClock = Float64Array<SharedArrayBuffer>;

const startedAt = 0;
const waited = 1;
const waitingSince = 2;
const message = 3;
const cut = 4;

export function newParseClock(): ParseClock {
  return new Float64Array(new SharedArrayBuffer(5 * Float64Array.BYTES_PER_ELEMENT));
}

/** @param index place in the batch of the message that is begun now */
export function startClock(clock: ParseClock, index: number): void {
  clock[message] = index;
  clock[waited] = 0;
  clock[startedAt] = Date.now();
}

export function clockStarted(clock: ParseClock): boolean {
  return clock[startedAt] !== 0;
}

/** Place in the batch of the message in hand. */
export function messageInHand(clock: ParseClock): number {
  return clock[message] ?? 0;
}

/** Tells the thread to begin no further message of the batch. */
export function cutBatch(clock: ParseClock): void {
  clock[cut] = 1;
}

export function isCut(clock: ParseClock): boolean {
  return clock[cut] === 1;
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

/** Milliseconds the clock has counted for the message in hand; 0 before it was started. */
export function timeUsed(clock: ParseClock, now = Date.now()): number {
  const start = clock[startedAt] ?? 0;
  return start === 0 ? 0 : now - start - (clock[waited] ?? 0) - waiting(clock, now);
}

function waiting(clock: ParseClock, now: number): number {
  const since = clock[waitingSince] ?? 0;
  return since === 0 ? 0 : now - since;
}
