import { type MessageId, TemporaryFailure } from "@millrace/mail";

/** A message that cannot be read from the store. Names the id, the place and the cure. */
export class NotStored extends TemporaryFailure {
  override name = "NotStored";

  constructor(id: MessageId, reason: string) {
    super(`message ${id} is not in the mail store: ${reason}`, { code: "NOT_STORED" });
  }
}

/**
 * Some messages of a batch could not be stored. The others are: durable, and visible to every reader. Trying
 * the whole batch again is safe too.
 */
export class PartlyStored extends Error {
  override name = "PartlyStored";
  /** Why, for each message that is not stored. */
  readonly failures: ReadonlyMap<MessageId, Error>;

  constructor(failures: ReadonlyMap<MessageId, Error>, batch: number) {
    const [first] = failures;
    super(
      `${failures.size} of ${batch} messages could not be stored; the first, ${first?.[0]}: ${first?.[1].message}`,
      { cause: first?.[1] },
    );
    this.failures = failures;
  }
}
