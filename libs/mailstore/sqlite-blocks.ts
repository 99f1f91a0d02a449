import type { SQLInputValue, SQLOutputValue } from "node:sqlite";
import { setImmediate as turn } from "node:timers/promises";
import type { Statements } from "./sqlite-connection.ts";

export type Row = Record<string, SQLOutputValue>;

/** A table that holds texts of messages, or about them. */
export interface TextTable {
  name: string;
  /** Its leading key, and a value before every other. */
  key: string;
  start: SQLInputValue;
  /** Columns with text, in which a person's address may stand. */
  columns: readonly string[];
}

export const messageTables: readonly TextTable[] = [
  { name: "messages", key: "place", start: -1n, columns: ["sender", "recipients", "subject"] },
  { name: "contents", key: "place", start: -1n, columns: ["manifest", "parsed"] },
];
/** What is recorded about messages: the address in these is replaced, where the message itself stays. */
export const recordTables: readonly TextTable[] = [
  { name: "journal", key: "message", start: "", columns: ["data"] },
  { name: "deliveries", key: "message", start: "", columns: ["label", "recipients", "last_reply"] },
  {
    name: "dead_letters",
    key: "number",
    start: -1n,
    columns: ["label", "error", "reply", "sender", "recipients", "subject"],
  },
];

/** Rows in one block: a few dozen milliseconds, so that a reading neither holds up a checkpoint nor an interruption. */
const blockSize = 2_000;

/** The rows of a table with one of some texts in them, without regard to the case of ASCII; the others cost no more than reading them. */
export async function* rowsWith(
  statements: Statements,
  table: TextTable,
  texts: readonly string[],
  options: { start?: SQLInputValue; columns?: readonly string[]; progress?: (rows: number) => void } = {},
): AsyncGenerator<Row> {
  const { name, key } = table;
  const last = statements.get(
    `SELECT max(${key}) AS last, count(*) AS rows
     FROM (SELECT ${key} FROM ${name} WHERE ${key} > ? ORDER BY ${key} LIMIT ${blockSize})`,
  );
  const patterns = texts.map(likePattern);
  const has = (options.columns ?? table.columns).flatMap((column) =>
    patterns.map(() => `${column} LIKE ? ESCAPE '\\'`),
  );
  const values = (options.columns ?? table.columns).flatMap(() => patterns);
  const found = statements.get(
    `SELECT * FROM ${name} WHERE ${key} > ? AND ${key} <= ? AND (${has.join(" OR ")})`,
  );
  for (let from = options.start ?? table.start; ; ) {
    const block = last.get(from);
    const to = block?.last;
    if (!block || to === null || to === undefined) return;
    yield* found.all(from, to, ...values);
    options.progress?.(Number(block.rows));
    from = to;
    await turn();
  }
}

/** SQLite folds the case of ASCII only: whatever else there is may be anything, and is looked at by whoever asked. */
function likePattern(text: string): string {
  const literal = text.replace(/[\\%_]/g, "\\$&").replace(/[^\0-\x7f]+/g, "%");
  return `%${literal}%`;
}
