import type { MessageId } from "@millrace/mail";
import type { MailStore, MessageQuery, MessageSummary } from "@millrace/mailstore";
import { type HeldMessage, heldMessage } from "@millrace/pipeline/runtime";
import { type Command, InvalidArgumentError } from "commander";
import { describeFilters, type Filters, filtersOf, withFilters } from "../filters.ts";
import { parseId } from "../reading.ts";
import { CommandError } from "../terminal.ts";

/** A message in quarantine. */
export interface Held extends Omit<HeldMessage, "message" | "decision"> {
  summary: MessageSummary;
  decision: HeldMessage["decision"];
}

/** Which of them somebody asked for. */
export interface Question {
  ids: readonly MessageId[];
  filters: Pick<Filters, "since" | "until" | "sender" | "recipient" | "subject">;
  by?: string | undefined;
  reason?: string | undefined;
}

export interface QuestionOptions extends Record<string, unknown> {
  by?: string;
  because?: string;
}

const page = 500;

/** The options that choose among messages in quarantine; all that are given must fit. */
export function addQuestion(command: Command): Command {
  return withFilters(command, ["since", "until", "recipient", "sender", "subject"])
    .option("--by <text>", "in the name of the worker or scanner that holds it back")
    .option("--because <text>", "in the reason it is held back for");
}

export function questionOf(ids: readonly string[], options: QuestionOptions): Question {
  return { ids: ids.map(parseId), filters: filtersOf(options), by: options.by, reason: options.because };
}

/** The filters as one would type them. */
export function describeQuestion({ filters, by, reason }: Question): string {
  const words = describeFilters({
    ...filters,
    ...(by === undefined ? {} : { by }),
    ...(reason === undefined ? {} : { because: reason }),
  });
  return words ? ` with ${words}` : "";
}

/** @throws InvalidArgumentError when a command that changes something was told neither which nor all */
export function isSaid({ ids, filters, by, reason }: Question, all: boolean | undefined): void {
  const said = ids.length > 0 || all || Object.keys(filters).length > 0;
  if (!said && by === undefined && reason === undefined) {
    throw new CommandError(
      "say which: ids from `millrace quarantine list`, filters (--help lists them), or --all",
      2,
    );
  }
}

/** Those that fit, oldest first. Ids may also name messages that were discarded. */
export function* chosen(mailstore: MailStore, question: Question): Generator<Held> {
  const { ids, filters } = question;
  const query: MessageQuery =
    ids.length > 0 ? { ...filters, messages: ids } : { ...filters, state: "quarantined" };
  for (let after: string | undefined; ; ) {
    const selected = mailstore.select(query, after, page);
    for (const { id } of selected) {
      const held = find(mailstore, id);
      if (held && fits(held, question)) yield held;
    }
    after = selected.at(-1)?.position;
    if (selected.length < page) return;
  }
}

/** A message in quarantine, or discarded from there; undefined when it is neither. */
export function find(mailstore: MailStore, id: MessageId): Held | undefined {
  const summary = mailstore.summary(id);
  if (summary?.state !== "quarantined" && summary?.state !== "discarded") return undefined;
  const held = heldMessage(mailstore, id);
  // The journal and the state were read one after the other: what was let go in between is here no more.
  if (!held || held.decision === "released" || held.decision === "cleared") return undefined;
  const { message: _, ...rest } = held;
  return { summary, ...rest };
}

function fits({ by, worker, reason }: Held, question: Question): boolean {
  const has = (text: string, part: string | undefined) =>
    part === undefined || text.toLowerCase().includes(part.toLowerCase());
  return has(`${by} ${worker}`, question.by) && has(reason, question.reason);
}

export function reasonText(text: string): string {
  if (text.trim() === "") throw new InvalidArgumentError("say why in a word or more.");
  return text;
}
