import { messageIdSchema } from "@millrace/mail";
import type { DeadLetterQuery, MessageQuery } from "@millrace/mailstore";
import { deadLetterItems, type ReplayItem, storedItems } from "@millrace/pipeline/runtime";
import { describeFilters, type Filters } from "../filters.ts";
import { count } from "../progress.ts";
import { CommandError } from "../terminal.ts";
import type { Working } from "../working.ts";

/** What somebody asked to be replayed. */
export interface Question {
  /** Numbers of dead letters and ids of messages. */
  ids: readonly string[];
  filters: Filters;
  all: boolean;
  force: boolean;
}

/** What that comes to. */
export interface Choice {
  /** For people: "10,000 dead letters with --error ECONNREFUSED". */
  what: string;
  total: number;
  /** Highest number of a dead letter among them: what dies again while they are replayed is not for this run. */
  newest: number;
  /** Dead letters by worker and error. */
  groups: { worker: string; error: string; count: number }[];
  /** The first few. */
  sample(most: number): Record<string, string>[];
  /** From behind a position on. */
  items(after: string | undefined): AsyncIterable<ReplayItem>;
}

/** Workers every message has been through when it is stored: running one again would deliver it again as well. */
const stages = ["parse", "store"];

/**
 * Finds what a question is about.
 * @param newest of an earlier run that is gone on with
 * @throws CommandError that names the option and says what to write instead
 */
export function choose(working: Working, question: Question, newest?: number): Choice {
  const numbers = question.ids.filter((id) => /^\d+$/.test(id)).map(Number);
  const messages = question.ids.filter((id) => !/^\d+$/.test(id)).map(messageId);
  if (numbers.length > 0 && (messages.length > 0 || question.all)) {
    throw new CommandError(
      "numbers are those of dead letters: give them alone, without message ids and --all",
      2,
    );
  }
  const given = { ...(numbers.length > 0 ? { numbers } : {}), ...(messages.length > 0 ? { messages } : {}) };
  const throughWorker = question.all || (messages.length > 0 && question.filters.worker !== undefined);
  return throughWorker
    ? chooseStored(working, question, { ...given, ...question.filters })
    : chooseDead(working, question, { ...given, ...question.filters }, newest);
}

function messageId(text: string) {
  const id = messageIdSchema.safeParse(text.toLowerCase());
  if (id.success) return id.data;
  throw new CommandError(
    `${JSON.stringify(text)} is neither the number of a dead letter nor a message id; \`millrace dead-letters list\` shows both`,
    2,
  );
}

function chooseDead(working: Working, question: Question, query: DeadLetterQuery, before?: number): Choice {
  if (question.force) throw new CommandError("--force is for --all: a dead letter was never delivered", 2);
  const { mailstore, spool, ledger } = working.pipeline;
  const { total, newest, groups } = mailstore.countDeadLetters(query);
  const until = before ?? newest;
  const source = { mailstore, spool, ledger, routing: working.config };
  return {
    what: `${count(total)} dead letter${total === 1 ? "" : "s"}${which(question)}`,
    ...{ total, newest: until, groups },
    sample: (most) =>
      mailstore.deadLetters(query, { limit: most }).map((letter) => ({
        number: String(letter.number),
        at: letter.at,
        message: letter.message,
        worker: letter.worker,
        target: letter.label ?? "",
        reason: letter.reply ?? letter.error,
      })),
    items: (after) => deadLetterItems(source, query, until, after),
  };
}

function chooseStored(working: Working, question: Question, query: DeadLetterQuery & MessageQuery): Choice {
  const { mailstore, spool, ledger, subscriptions } = working.pipeline;
  const { worker: name, error, ...rest } = query;
  const known = subscriptions.all();
  const names = known.map(({ worker }) => worker).filter((worker) => !stages.includes(worker));
  if (name === undefined) throw new CommandError(`--all needs --worker: one of ${names.join(", ")}`, 2);
  if (error !== undefined) {
    throw new CommandError(
      "--error chooses dead letters, and --all stored messages: leave one of them out",
      2,
    );
  }
  if (stages.includes(name)) {
    throw new CommandError(
      `a stored message has been through ${name} already; to deliver it again: --worker deliver --force`,
      2,
    );
  }
  const worker = known.find((subscription) => subscription.worker === name);
  if (!worker) {
    throw new CommandError(
      `no worker ${JSON.stringify(name)} has ever been started here: those known are ${names.join(", ")}; start it once, then replay`,
    );
  }
  if (question.force && name !== "deliver") {
    throw new CommandError("--force is for --worker deliver: any other worker gets every message anyway", 2);
  }
  const total = mailstore.countSelected(rest);
  const source = { mailstore, spool, ledger, routing: working.config };
  const again = question.force ? ", to targets that have them already as well" : "";
  return {
    what: `${count(total)} stored message${total === 1 ? "" : "s"} through ${name}${which(question)}${again}`,
    ...{ total, newest: 0, groups: [] },
    sample: (most) =>
      mailstore.select(rest, undefined, most).flatMap(({ id }) => {
        const found = mailstore.summary(id);
        if (!found) return [];
        const { receivedAt, state, from, to, subject } = found;
        return [{ id, received: receivedAt, state, from, to: to.join(", "), subject }];
      }),
    items: (after) => storedItems(source, rest, worker, question.force, after),
  };
}

function which({ filters, ids, all }: Question): string {
  const { worker, ...rest } = filters;
  const words = describeFilters(all ? rest : { ...rest, ...(worker === undefined ? {} : { worker }) });
  return `${ids.length > 0 && !/^\d/.test(ids[0] as string) ? ` of ${ids.join(", ")}` : ""}${words ? ` with ${words}` : ""}`;
}
