import { randomUUID } from "node:crypto";
import { discardHeld, releaseHeld } from "@millrace/pipeline/runtime";
import { count, Progress } from "../progress.ts";
import { CommandError, print, printJson } from "../terminal.ts";
import { confirmed, journalArchived, type Working, whoami } from "../working.ts";
import { chosen, describeQuestion, find, type Held, isSaid, type Question } from "./choice.ts";

export interface DecideOptions extends Record<string, unknown> {
  all?: boolean;
  limit?: number;
  reason?: string;
  dryRun?: boolean;
  yes?: boolean;
  json?: boolean;
}

/** What can be decided about a message in quarantine, in the words of the command. */
const decisions = {
  release: { does: releaseHeld, done: "released" },
  discard: { does: discardHeld, done: "discarded" },
} as const;

/** Messages decided about together. */
const together = 100;

/** Releases or discards messages; one that somebody else has decided about meanwhile is left alone. */
export async function decide(
  working: Working,
  what: keyof typeof decisions,
  question: Question,
  options: DecideOptions,
): Promise<void> {
  isSaid(question, options.all);
  const { pipeline } = working;
  // What an earlier command has decided must not be chosen once more.
  await journalArchived(working);
  for (const id of question.ids) {
    if (find(pipeline.mailstore, id)) continue;
    throw new CommandError(`${id} is not in quarantine: \`millrace trace ${id}\` tells what became of it`);
  }
  const fitting = [...chosen(pipeline.mailstore, question)]
    // To discard a message twice is nothing; to release a discarded one is to think better of it.
    .filter(({ decision }) => what === "release" || decision === "none")
    .slice(0, options.limit);
  const words = `${count(fitting.length)} message${fitting.length === 1 ? "" : "s"}${describeQuestion(question)}`;
  if (options.dryRun) {
    if (options.json)
      return printJson({ selected: fitting.length, ids: fitting.map(({ summary }) => summary.id) });
    return print(`would ${what} ${words}\n`);
  }
  if (what === "discard" && fitting.length > 0) {
    const sure = await confirmed(`Discard ${words}? Nobody gets them.`, options.yes);
    if (!sure) throw new CommandError("nothing was discarded");
  }

  const { does, done } = decisions[what];
  const decider = { run: randomUUID(), by: whoami(), reason: options.reason };
  const progress = new Progress(done, fitting.length);
  const ids: string[] = [];
  const one = async ({ summary, ...held }: Held): Promise<void> => {
    if (await does(pipeline, { ...held, message: summary.id }, decider)) ids.push(summary.id);
    progress.at(ids.length);
  };
  for (let start = 0; start < fitting.length; start += together)
    await Promise.all(fitting.slice(start, start + together).map(one));
  progress.end();
  if (options.json) return printJson({ selected: fitting.length, [done]: ids.length, ids });
  await print(`${done} ${count(ids.length)} of ${words}\n`);
}
