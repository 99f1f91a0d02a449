import type { Readable } from "node:stream";
import type { Attachment, Envelope, Manifest, MessageId, ParsedMessage } from "@millrace/mail";
import type { Logger } from "@millrace/service";
import type { z } from "zod";
import type { EventSchema } from "./event-definition.ts";
import type { EventName, events } from "./events.ts";

/** A fact a worker is called with. */
export interface PipelineEvent<Name extends string = string, Data = Record<string, unknown>> {
  name: Name;
  message: MessageId;
  /** Milliseconds since the epoch at which it was recorded; for a replay, at which it was replayed. */
  at: number;
  data: Data;
}

/** Own events of a worker: a name and the schema of what it carries. */
export type EmitSchemas = Record<string, EventSchema>;

/** What an event of this name is emitted with: a worker's own, or a built-in one. */
export type EmitData<Own extends EmitSchemas, Name extends string> = Name extends keyof Own
  ? z.input<Own[Name]>
  : Name extends EventName
    ? z.input<(typeof events)[Name]>
    : never;

/** One attachment, whose octets are read out of the raw message when they are asked for. */
export interface AttachmentSource {
  /** The decoded octets. @throws (as the stream's error) PermanentFailure when there is no such attachment */
  stream(): Readable;
}

export interface AttachmentFile extends Attachment, AttachmentSource {}

/** What a handler has at hand for one message. */
export interface WorkerContext<Config = unknown, Own extends EmitSchemas = EmitSchemas> {
  message: MessageId;
  manifest: Manifest;
  envelope: Envelope;
  /** The worker's configuration, as its schema made it of configuration file and environment. */
  config: Config;
  /** The parsed message, from the spool or the mail store, whichever has it. */
  parsed(): Promise<ParsedMessage>;
  /** The raw message as a stream, our Received field first; from the spool or the mail store, whichever has it. */
  raw(): Readable;
  /** The raw message in one piece: for messages known to be small. */
  read(): Promise<Buffer>;
  /**
   * The attachments, in their order, all or those that match: by content type (`application/pdf`, `image/*`) or file
   * name (`*.pdf`).
   */
  attachments(...wanted: string[]): Promise<AttachmentFile[]>;
  /** One attachment, by its index in `parsed().attachments`. */
  attachment(index: number): AttachmentSource;
  /**
   * Publishes an event. Nothing is sent before the handler returns: events and completion are recorded in one
   * step. Emitting the same event more than once needs a `key` that is the same at every run.
   * @throws ZodError when `data` is not what the event carries
   */
  emit<Name extends (keyof Own & string) | EventName>(
    event: Name,
    data: EmitData<Own, Name>,
    options?: { key?: string },
  ): void;
  /**
   * Runs an effect at most once for this message and worker, over all attempts, and gives back what it returned:
   * later attempts get the recorded result. Is the process killed in the middle of it, nobody can know whether it
   * happened; the job is then a dead letter (`UNCLEAR`), unless the effect is `repeatable`, which runs it again. One
   * that throws did not happen, and is run by the next attempt.
   *
   * @param key names the effect within message and worker
   * @param effect what it returns must survive JSON
   */
  once<T>(key: string, effect: () => T | Promise<T>, options?: { repeatable?: boolean }): Promise<T>;
  /**
   * Ends this run: the job comes back later, at no attempt's cost. What was emitted is not recorded.
   * @param delay milliseconds, or a duration such as "10m"
   */
  snooze(delay: number | string): never;
  /**
   * Keeps what this run has done so far even if it fails in the end: the events emitted until now are recorded
   * with the failure, and `data` is what the event carries at the next attempt.
   */
  progress(data: Record<string, unknown>): void;
  log: Logger;
  /** Aborted when the worker's time for the job is over, or when the process stops. */
  signal: AbortSignal;
  /** From 1. A snooze or a shutdown costs none. */
  attempt: number;
  /**
   * How often its process died while this job was tried as a suspect: at first together with others that were in hand
   * at a death, from the third time on with no other suspect beside it.
   */
  crashes: number;
  /** The same at every run of this job: for the far side to tell a repetition. */
  idempotencyKey: string;
}
