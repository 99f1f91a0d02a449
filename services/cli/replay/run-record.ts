import { createHash } from "node:crypto";
import { replayRuns } from "@millrace/pipeline/runtime";
import { z } from "zod";
import type { Working } from "../working.ts";
import type { Question } from "./choice.ts";

const text = z.string().optional();

/** What a run was begun with. */
const recordSchema = z.object({
  by: z.string(),
  /** ISO 8601. */
  at: z.string(),
  total: z.number(),
  newest: z.number(),
  /** With times as they were when it was begun: "--since 2h" means the same two hours when it is gone on with. */
  filters: z.object({
    ...{ worker: text, error: text, recipient: text, sender: text, target: text, subject: text },
    ...{ since: z.number().optional(), until: z.number().optional() },
  }),
});
export type RunRecord = z.infer<typeof recordSchema>;

/** A run that was left half way. */
export interface Left {
  record: RunRecord;
  /** Messages it has been through. */
  ordinal: number;
  position: string | undefined;
}

/** The runs of replays, each under an id made of its question: the same command finds the same run. */
export function runsOf({ pipeline }: Working) {
  const runs = replayRuns(pipeline.redis);
  return {
    async find(run: string): Promise<Left | undefined> {
      const found = await runs.find(run);
      if (!found) return undefined;
      return { ...found, record: recordSchema.parse(JSON.parse(found.record)) };
    },
    begin: (run: string, record: RunRecord) => runs.begin(run, JSON.stringify(record)),
    end: (run: string) => runs.end(run),
  };
}

/** @param typed the filters as they were typed */
export function runIdOf({ ids, all, force }: Question, typed: Record<string, string>): string {
  const key = JSON.stringify([ids, typed, all, force]);
  return createHash("sha256").update(key).digest("hex").slice(0, 12);
}
