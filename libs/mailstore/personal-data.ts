import type { MessageId, Person } from "@millrace/mail";

/** A stored message that has to do with a person. */
export interface PersonalMessage {
  id: MessageId;
  /** Whether it is from or for the person; else it only mentions the address, in its text or a header field. */
  concerned: boolean;
  /** Recipients of its envelope beside the person. */
  otherRecipients: number;
}

/** Records of other people's messages in which the address was replaced. */
export interface Redacted {
  journalEntries: number;
  deliveries: number;
  deadLetters: number;
}

/** Where an address still stands. */
export interface Traces {
  /** Rows of records that mention it, beside the messages that do: none after `redact`. */
  records: number;
  /** Occurrences within the index's files that no row accounts for: what deleted rows have left behind. */
  leftovers: number;
  /** The files that were looked through, and their octets. */
  files: { name: string; octets: number }[];
}

/** That mail was erased: never whose. */
export interface Erasure {
  /** ISO 8601, UTC. */
  at: string;
  /** Who did it, as user@host. */
  by: string;
  messages: number;
}

/** Called with the number of rows looked at since the last call. */
export type Progress = (rows: number) => void;

/** What the store holds about one person, and how it is made to hold nothing. */
export interface PersonalData {
  /** The stored messages that concern or mention a person, of those whose transaction began at `since` or later. */
  messages(person: Person, since: number, progress?: Progress): AsyncGenerator<PersonalMessage>;
  /** Replaces the address by `erased` in journal, deliveries and dead letters. */
  redact(person: Person, progress?: Progress): Promise<Redacted>;
  /**
   * Makes what was deleted leave the files: writes the full-text index anew without its markers of deleted words, in
   * short steps, and empties the write-ahead log.
   */
  purge(): Promise<void>;
  /** Writes the whole index anew. Takes its size in free disk space, and holds up every writer until it is done. */
  rewrite(): Promise<void>;
  traces(person: Person, progress?: Progress): Promise<Traces>;
  record(erasure: Erasure): void;
  /** Newest first. */
  erasures(): Erasure[];
}
