import type { Connection } from "../connection.ts";

/** The tags of each transaction that is under way. They go with its envelope, which each new transaction has anew. */
export class TransactionTags {
  private readonly byEnvelope = new WeakMap<object, string[]>();

  of({ session }: Connection): string[] {
    return this.byEnvelope.get(session.envelope) ?? [];
  }

  set({ session }: Connection, tags: string[]): void {
    if (tags.length > 0) this.byEnvelope.set(session.envelope, tags);
  }
}
