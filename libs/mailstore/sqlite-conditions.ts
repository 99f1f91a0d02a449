/** The conditions of one query, all of which must hold, and the values for their question marks. */
export class Conditions {
  private readonly terms: string[] = [];
  readonly values: (string | number | bigint)[] = [];

  add(term: string, ...values: (string | number | bigint)[]): void {
    this.terms.push(term);
    this.values.push(...values);
  }

  oneOf(column: string, values: readonly (string | number)[]): void {
    this.add(`${column} IN (SELECT value FROM json_each(?))`, JSON.stringify(values));
  }

  /** The text stands somewhere in one of the columns; with a `*`, which stands for anything, it must be the whole. */
  anywhere(columns: readonly string[], text: string): void {
    const pattern = text.includes("*") ? likePattern(text) : `%${likePattern(text)}%`;
    const terms = columns.map((column) => `${column} LIKE ? ESCAPE '\\'`);
    this.add(`(${terms.join(" OR ")})`, ...columns.map(() => pattern));
  }

  /** The column is the address; `*` stands for anything, "<>" for the null reverse-path. */
  address(column: string, pattern: string): void {
    this.add(`${column} LIKE ? ESCAPE '\\'`, likePattern(pattern === "<>" ? "" : pattern));
  }

  /** The same for a column with a JSON list of addresses: one of them. */
  oneOfAddresses(column: string, pattern: string): void {
    const one = `SELECT 1 FROM json_each(coalesce(${column}, '[]')) WHERE value LIKE ? ESCAPE '\\'`;
    this.add(`EXISTS (${one})`, likePattern(pattern));
  }

  where(): string {
    return this.terms.length === 0 ? "" : `WHERE ${this.terms.join(" AND ")}`;
  }
}

function likePattern(text: string): string {
  return text.replace(/[\\%_]/g, "\\$&").replaceAll("*", "%");
}
