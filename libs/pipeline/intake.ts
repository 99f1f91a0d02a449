import type { Manifest, MessageId } from "@millrace/mail";
import type { Draft } from "@millrace/spool";

/**
 * Why nothing can be taken in. `away`: Redis is, or does not keep what it acknowledges. `full`: memory, a disk or the
 * backlog is beyond its mark (RFC 3463 X.3.1), and it gets better by itself as mail is worked off.
 */
export interface Unavailable {
  why: "away" | "full";
  /** For the log. */
  reason: string;
}

/** The way into the pipeline: what the edge holds. Made by `openIntake`. */
export interface Intake {
  /**
   * Why no message can be taken in right now; undefined when one can. Costs nothing to ask. One that is under way may
   * go on for a while after no new one is begun: until only the room is left that accepted mail needs to finish.
   */
  unavailable(message?: "new" | "under way"): Unavailable | undefined;
  /** A new body in the spool. See {@link Draft} for its backpressure. */
  draft(id: MessageId): Draft;
  /**
   * Accepts the message: commits body, manifest, the journal's first entry and the work of every subscriber of
   * `message.received` in one step, then wakes their workers. When it resolves, all of that is fsynced.
   * After a time-out it asks once more under the same id, which is safe.
   * @throws SpoolFull when Redis has no memory left: it was not accepted, and nothing of it stays
   * @throws anything else when the message was not accepted, or when nobody can tell: then the client must hear 451
   */
  accept(draft: Draft, manifest: Manifest): Promise<void>;
  close(): Promise<void>;
}
