import type { DeadLetter, DeadLetterQuery } from "@millrace/mailstore";
import { describeFilters, type Filters } from "../filters.ts";
import { count, Progress } from "../progress.ts";
import { CommandError, print, printJson } from "../terminal.ts";
import { confirmed, journalArchived, type Working, whoami } from "../working.ts";

const page = 500;

interface DiscardOptions {
  reason?: string;
  dryRun?: boolean;
  yes?: boolean;
  json?: boolean;
}

/** Gives dead letters up. Those of messages that are not in the mail store stay: nothing else is left of such a message. */
export async function discard(
  working: Working,
  numbers: readonly number[],
  filters: Filters,
  options: DiscardOptions,
): Promise<void> {
  const { mailstore, replays } = working.pipeline;
  if (numbers.length === 0 && Object.keys(filters).length === 0) {
    throw new CommandError(
      "say which: numbers from `millrace dead-letters list`, or filters (--help lists them)",
      2,
    );
  }
  await journalArchived(working);
  const query: DeadLetterQuery = numbers.length > 0 ? { ...filters, numbers } : filters;
  const { total, newest } = mailstore.countDeadLetters(query);
  const what = `${count(total)} dead letters${numbers.length > 0 ? "" : ` with ${describeFilters(filters)}`}`;
  if (options.dryRun) return options.json ? printJson({ selected: total }) : print(`would discard ${what}\n`);
  if (total === 0)
    return options.json
      ? printJson({ selected: 0, discarded: 0, kept: [] })
      : print("no such dead letters\n");
  if (!(await confirmed(`Discard ${what}? The messages stay in the mail store.`, options.yes))) {
    throw new CommandError("nothing was discarded");
  }

  const kept: DeadLetter[] = [];
  let discarded = 0;
  const progress = new Progress("discarded", total);
  const data = { by: whoami(), ...(options.reason ? { reason: options.reason } : {}) };
  for (let after = 0; ; ) {
    const letters = mailstore.deadLetters(query, { after, before: newest + 1, limit: page });
    const stored = letters.filter(({ message }) => mailstore.has(message));
    kept.push(...letters.filter((letter) => !stored.includes(letter)));
    const done = await Promise.all(
      stored.map(({ message, worker, job }) =>
        replays.discard(
          { message, unit: job },
          { at: Date.now(), event: "job.discarded", worker: "discard", data: { job, worker, ...data } },
        ),
      ),
    );
    discarded += done.filter(Boolean).length;
    progress.at(discarded);
    after = letters.at(-1)?.number ?? after;
    if (letters.length < page) break;
  }
  progress.end();
  if (options.json) await printJson({ selected: total, discarded, kept: kept.map(({ number }) => number) });
  else await print(`discarded ${count(discarded)} of ${what}\n`);
  if (kept.length > 0) {
    throw new CommandError(
      `${count(kept.length)} were kept, since their messages are not in the mail store and nothing else would be left of them: replay them (first ${kept[0]?.number}, message ${kept[0]?.message})`,
    );
  }
}
