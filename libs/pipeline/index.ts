export {
  type Attachment,
  type Envelope,
  type FailureDetails,
  type HeaderEdits,
  headerEditsSchema,
  joinedEdits,
  type Manifest,
  type MessageId,
  type ParsedMessage,
  PermanentFailure,
  RetryAfter,
  TemporaryFailure,
} from "@millrace/mail";
/** The very zod whose schemas `config`, `emits` and `defineEvent` take. */
export { z } from "zod";
export { accept, type Decision, decisionSchema, defer, reject, tag } from "./decision.ts";
export { defineEvent, type EventDefinition } from "./event-definition.ts";
export { type EventData, type EventName, events } from "./events.ts";
export {
  definePolicy,
  type PolicyContext,
  type PolicyDefinition,
  type PolicyFallback,
  type PolicyOptions,
  type PolicyStage,
  type PolicyTransaction,
} from "./policy.ts";
export type { EnvelopeWhere, Where } from "./where.ts";
export {
  defineWorker,
  type RetryChoice,
  Snooze,
  type WorkerDefinition,
  type WorkerOptions,
  type WrittenRetry,
} from "./worker.ts";
export type {
  AttachmentFile,
  AttachmentSource,
  EmitSchemas,
  PipelineEvent,
  WorkerContext,
} from "./worker-context.ts";
