import type { DatabaseSync } from "node:sqlite";
import type { MessageQuery, Selected } from "./selection.ts";
import { Conditions } from "./sqlite-conditions.ts";
import { Statements } from "./sqlite-connection.ts";

/** Stored messages by what is known of them, in the order in which they came: for work on many of them. */
export class SqliteSelection {
  private readonly statements: Statements;

  constructor(db: DatabaseSync) {
    this.statements = new Statements(db);
  }

  select(query: MessageQuery, after: string | undefined, limit: number): Selected[] {
    const conditions = conditionsOf(query);
    if (after !== undefined) conditions.add("place > ?", BigInt(after));
    return this.statements
      .get(`SELECT id, place FROM messages ${conditions.where()} ORDER BY place LIMIT ?`)
      .all(...conditions.values, limit)
      .map((row) => ({ id: String(row.id), position: String(row.place) }));
  }

  count(query: MessageQuery): number {
    const conditions = conditionsOf(query);
    const row = this.statements
      .get(`SELECT count(*) AS n FROM messages ${conditions.where()}`)
      .get(...conditions.values);
    return Number(row?.n);
  }
}

function conditionsOf(query: MessageQuery): Conditions {
  const conditions = new Conditions();
  if (query.messages) conditions.oneOf("id", query.messages);
  if (query.since !== undefined) conditions.add("received_at >= ?", query.since);
  if (query.until !== undefined) conditions.add("received_at < ?", query.until);
  if (query.state !== undefined) conditions.add("state = ?", query.state);
  if (query.sender !== undefined) conditions.address("sender", query.sender);
  if (query.recipient !== undefined) conditions.oneOfAddresses("recipients", query.recipient);
  if (query.subject !== undefined) conditions.anywhere(["subject"], query.subject);
  if (query.target !== undefined) {
    const target = new Conditions();
    target.anywhere(["d.target", "d.label"], query.target);
    conditions.add(
      `EXISTS (SELECT 1 FROM deliveries d ${target.where()} AND d.message = messages.id)`,
      ...target.values,
    );
  }
  return conditions;
}
