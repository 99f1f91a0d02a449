import { setTimeout as sleep } from "node:timers/promises";

/** Waits for a condition. @throws when it does not come true in `within` milliseconds */
export async function until(condition: () => boolean | Promise<boolean>, within = 60_000): Promise<void> {
  const deadline = Date.now() + within;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within ${within} ms: ${condition}`);
    await sleep(10);
  }
}
