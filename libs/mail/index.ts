export { addressFileName, domainOf, fnv1a, localPartOf } from "./address.ts";
export { type BouncedRecipient, buildDsn, type Dsn, type DsnRequest } from "./dsn.ts";
export { durationSchema, milliseconds } from "./duration.ts";
export { type Envelope, envelopeSchema, localProtocol, type Manifest, manifestSchema } from "./envelope.ts";
export {
  askedToWait,
  describeFailure,
  type FailureDetails,
  type FailureRecord,
  isPermanent,
  isSuspended,
  PermanentFailure,
  RetryAfter,
  Suspended,
  TemporaryFailure,
} from "./failure.ts";
export { addedFields, type HeaderEdits, headerEditsSchema, isRemoved, joinedEdits } from "./header-edits.ts";
export { HeaderFilter } from "./header-filter.ts";
export { compareSeq, type JournalEntry, journalEntrySchema, parseSeq } from "./journal-entry.ts";
export { derivedMessageId, type MessageId, messageIdSchema, newMessageId } from "./message-id.ts";
export { type MessageState, messageStateNames, messageStates } from "./message-state.ts";
export { encodedWord, foldedField, transferEncoded } from "./mime-text.ts";
export {
  type Attachment,
  type Defect,
  type DefectCode,
  defectMeanings,
  defectSchema,
  emptyParsedMessage,
  type Mailbox,
  type ParsedMessage,
  parsedMessageSchema,
} from "./parsed-message.ts";
export { type Person, personOf } from "./person.ts";
export { type Delivery, deliverySchema, type Routing, targetsOf } from "./relay.ts";
export {
  type GrowingRetry,
  type ListedRetry,
  lifetime,
  longestDelay,
  type RetryPolicy,
  retrySchema,
} from "./retry-policy.ts";
export {
  type Keeping,
  keepingSchema,
  patternMatches,
  type Route,
  routeFor,
  routeSchema,
  type Target,
  type TargetConfig,
  type TransportName,
  targetSchema,
  targetsFor,
} from "./route.ts";
export { linkLifetime, signLink, verifyLink } from "./signed-link.ts";
export { toldByKey } from "./told-by-key.ts";
