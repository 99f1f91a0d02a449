/**
 * Where a message is on its way. A closed list: `messages list` and `status` print these words and no others.
 */
export const messageStates = {
  received: "accepted with 250, not yet in the mail store",
  stored: "in the mail store, waiting for its first delivery attempt",
  deferred: "at least one target refused it for now; it is tried again by itself",
  delivered: "every target took it",
  bounced: "at least one target did not take it for good, and its sender was told so by a DSN",
  quarantined: "held back by a worker, with its reason: `millrace quarantine` releases or discards it",
  discarded: "held back by a worker, and given up by somebody: nobody gets it",
  failed: "at least one target did not take it and none is still tried: see the dead letters",
} as const;
export type MessageState = keyof typeof messageStates;
export const messageStateNames = Object.keys(messageStates) as MessageState[];
