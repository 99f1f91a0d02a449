export { blobSize } from "./blob-draft.ts";
export { blobPath } from "./blob-files.ts";
export type { DeadLetter, DeadLetterCount, DeadLetterPage, DeadLetterQuery } from "./dead-letter.ts";
export type { DeliveryStatus, ListQuery, MailStore, MessageSummary, StoreItem } from "./mail-store.ts";
export { NotStored, PartlyStored } from "./not-stored.ts";
export { type MailStoreOptions, openMailStore } from "./open-mail-store.ts";
export type { Erasure, PersonalData, PersonalMessage, Progress, Redacted, Traces } from "./personal-data.ts";
export {
  addRemoved,
  type KeptMessage,
  nothingRemoved,
  type RemovalReason,
  type Removed,
  type Walk,
} from "./removal.ts";
export type { MessageQuery, Selected } from "./selection.ts";
export type { StoredBlob, StoreSnapshot } from "./store-snapshot.ts";
