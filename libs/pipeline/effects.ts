import type { MessageId } from "@millrace/mail";
import type { Redis } from "ioredis";
import { z } from "zod";
import { effectsKey, workKey } from "./keys.ts";
import type { UnitRef } from "./unit.ts";

/** What is known of an effect. "done" has what it returned; "begun" says that nobody knows whether it happened. */
const effectSchema = z.discriminatedUnion("state", [
  z.object({ state: z.literal("begun"), by: z.string() }),
  z.object({ state: z.literal("done"), result: z.unknown().optional() }),
]);
export type Effect = z.infer<typeof effectSchema>;

/**
 * KEYS effects work; ARGV field unit effect-json
 * Answers what is recorded of the effect; 1 when this call has begun it; 0 when the unit is no longer open, so that
 * whoever asks has been overtaken and must do nothing more.
 */
const beginScript = `
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then return 0 end
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known == ARGV[3] then return 1 end
if known then return known end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1`;

/** KEYS effects; ARGV field effect-json. Nothing when its message has reached its end meanwhile. */
const finishScript = `
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end`;

interface EffectCommands {
  effectBegin(...args: string[]): Promise<string | number>;
  effectFinish(...args: string[]): Promise<null>;
}

/** What workers have done for messages in flight (`ctx.once`): durable before it happens, and after. */
export interface EffectLog {
  /**
   * Records that an effect begins, unless it was begun before: then what is known of it. "overtaken": do nothing.
   * @param by of this run alone: who asks again, because an answer got lost, gets the same one
   */
  begin(ref: UnitRef, worker: string, key: string, by: string): Promise<Effect | "yours" | "overtaken">;
  done(message: MessageId, worker: string, key: string, result: unknown): Promise<void>;
  /** It did not happen, and may be begun again. */
  forget(message: MessageId, worker: string, key: string): Promise<void>;
  /** All effects of a worker that are done, by key, as a replay gives them back to it; undefined for none. */
  ofWorker(message: MessageId, worker: string): Promise<Record<string, string> | undefined>;
}

export function effectLog(redis: Redis): EffectLog {
  redis.defineCommand("effectBegin", { numberOfKeys: 2, lua: beginScript });
  redis.defineCommand("effectFinish", { numberOfKeys: 1, lua: finishScript });
  const scripted = redis as Redis & EffectCommands;
  return {
    async begin({ message, unit }, worker, key, by) {
      const field = fieldOf(worker, key);
      const begun = JSON.stringify({ state: "begun", by } satisfies Effect);
      const known = await scripted.effectBegin(effectsKey(message), workKey(message), field, unit, begun);
      if (typeof known === "string") return effectSchema.parse(JSON.parse(known));
      return known === 1 ? "yours" : "overtaken";
    },
    async done(message, worker, key, result) {
      const effect = JSON.stringify({ state: "done", result } satisfies Effect);
      await scripted.effectFinish(effectsKey(message), fieldOf(worker, key), effect);
    },
    async forget(message, worker, key) {
      await redis.hdel(effectsKey(message), fieldOf(worker, key));
    },
    async ofWorker(message, worker) {
      const all = Object.entries(await redis.hgetall(effectsKey(message)));
      const own = all.filter(
        ([field, json]) =>
          field.startsWith(fieldOf(worker, "")) && effectSchema.parse(JSON.parse(json)).state === "done",
      );
      if (own.length === 0) return undefined;
      return Object.fromEntries(own.map(([field, json]) => [field.slice(worker.length + 1), json]));
    },
  };
}

/** A worker's name has no line end, so two workers never share a field. */
function fieldOf(worker: string, key: string): string {
  return `${worker}\n${key}`;
}
