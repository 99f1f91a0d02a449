import type { Manifest, MessageId } from "@millrace/mail";
import type { Draft } from "@millrace/spool";

/** The way into the pipeline: what the edge holds. Made by `openIntake`. */
export interface Intake {
  /** Why no message can be taken in right now, for the log; undefined when one can. Costs nothing to ask. */
  unavailable(): string | undefined;
  /** A new body in the spool. See {@link Draft} for its backpressure. */
  draft(id: MessageId): Draft;
  /**
   * Accepts the message: commits body, manifest, the journal's first entry and the work of every subscriber of
   * `message.received` in one step, then wakes their workers. When it resolves, all of that is fsynced.
   * After a time-out it asks once more under the same id, which is safe.
   * @throws when the message was not accepted, or when nobody can tell: then the client must hear 451
   */
  accept(draft: Draft, manifest: Manifest): Promise<void>;
  close(): Promise<void>;
}
