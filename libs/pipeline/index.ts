export { type EventData, type EventName, events } from "./events.ts";
export type { Intake } from "./intake.ts";
export { type JournalTail, journalTail } from "./journal.ts";
export { type Ledger, redisLedger } from "./ledger.ts";
export { openIntake } from "./open-intake.ts";
export { bodyOf, openPipeline, type Pipeline } from "./open-pipeline.ts";
export { type PersonInFlight, personInFlight } from "./person-in-flight.ts";
export { openQueues, type QueueCounts, type Queues } from "./queues.ts";
export { startReconciler } from "./reconciler.ts";
export { type RemovedInFlight, removeMessage, stillInFlight } from "./remove-message.ts";
export { type RetentionOptions, type RetentionSummary, retain } from "./retention.ts";
export { defaultRetry, type RetryPolicy, retryDelay } from "./retry.ts";
export { type RunningWorker, startWorker } from "./start-worker.ts";
export { openSubscriptions, type Subscription } from "./subscriptions.ts";
export {
  defineWorker,
  type EmitSchemas,
  type PipelineEvent,
  Snooze,
  type WorkerContext,
  type WorkerDefinition,
  type WorkerOptions,
} from "./worker.ts";
