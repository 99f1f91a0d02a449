import { randomUUID } from "node:crypto";
import { PermanentFailure } from "@millrace/mail";
import type { EffectLog } from "./effects.ts";
import type { UnitRef } from "./unit.ts";
import type { WorkerContext } from "./worker-context.ts";

/** Octets of JSON that an effect may return: what it returned is kept in Redis while the message is in flight. */
const longestResult = 65_536;

/** Another run has settled the job meanwhile: this one is over, and must have no more effects. */
export class Overtaken extends Error {
  override name = "Overtaken";
}

/**
 * Effects that happen at most once. Made once for a worker: one left behind by a run that was too slow goes on in this
 * process, and the next run waits for that one instead of finding it unclear.
 */
export class Effects {
  private readonly log: EffectLog;
  private readonly worker: string;
  /** Those under way in this process, by message and key. */
  private readonly underWay = new Map<string, Promise<unknown>>();

  constructor(log: EffectLog, worker: string) {
    this.log = log;
    this.worker = worker;
  }

  /** @param persistently runs a step on Redis until it has worked: an effect that has happened must be recorded */
  once(ref: UnitRef, persistently: <T>(step: () => Promise<T>) => Promise<T>): WorkerContext["once"] {
    return async <T>(key: string, effect: () => T | Promise<T>, options: { repeatable?: boolean } = {}) => {
      const name = `${ref.message}\n${key}`;
      const before = this.underWay.get(name);
      if (before) return (await before) as T;
      const run = this.run(ref, key, effect, options.repeatable === true, persistently);
      this.underWay.set(name, run);
      try {
        return await run;
      } finally {
        this.underWay.delete(name);
      }
    };
  }

  private async run<T>(
    ref: UnitRef,
    key: string,
    effect: () => T | Promise<T>,
    repeatable: boolean,
    persistently: <R>(step: () => Promise<R>) => Promise<R>,
  ): Promise<T> {
    const { log, worker } = this;
    const { message } = ref;
    const by = randomUUID();
    const known = await persistently(() => log.begin(ref, worker, key, by));
    if (known === "overtaken") throw new Overtaken(`another run of ${ref.unit} has ended meanwhile`);
    if (known !== "yours" && known.state === "done") return known.result as T;
    if (known !== "yours" && !repeatable) {
      throw new PermanentFailure(
        `once(${JSON.stringify(key)}): its process died in the middle of it, so it may have happened or not; find out, then replay to run it again, or discard`,
        { code: "UNCLEAR" },
      );
    }
    let result: T;
    try {
      result = await effect();
    } catch (error) {
      await persistently(() => log.forget(message, worker, key));
      throw error;
    }
    const { kept, problem } = toKeep(result);
    await persistently(() => log.done(message, worker, key, kept));
    // It has happened, and must not again.
    if (problem) throw new PermanentFailure(`once(${JSON.stringify(key)}) ${problem}`, { code: "UNKEPT" });
    return kept as T;
  }
}

/** What an effect returned as later attempts will read it, so that the first run is no different from them. */
function toKeep(result: unknown): { kept: unknown; problem?: string } {
  try {
    const json = JSON.stringify(result);
    if (json === undefined) return { kept: undefined };
    if (json.length <= longestResult) return { kept: JSON.parse(json) };
    const problem = `returned ${json.length} characters of JSON, and at most ${longestResult} are kept: return less, such as an id`;
    return { kept: undefined, problem };
  } catch (error) {
    return { kept: undefined, problem: `returned what is no JSON: ${(error as Error).message}` };
  }
}
