export { type EventData, type EventName, events } from "./events.ts";
export type { Intake } from "./intake.ts";
export { type JournalTail, journalTail } from "./journal.ts";
export { type Ledger, redisLedger } from "./ledger.ts";
export { openIntake } from "./open-intake.ts";
export { bodyOf, openPipeline, type Pipeline } from "./open-pipeline.ts";
export { openQueues, type QueueCounts, type Queues } from "./queues.ts";
export { startReconciler } from "./reconciler.ts";
export { defaultRetry, type Progress, retryDelay } from "./retry.ts";
export { type RunningWorker, startWorker } from "./start-worker.ts";
export { type Submission, submitMessage } from "./submit-message.ts";
export { openSubscriptions, type Subscription } from "./subscriptions.ts";
export {
  defineWorker,
  type EmitSchemas,
  type PipelineEvent,
  type RetryChoice,
  Snooze,
  type WorkerContext,
  type WorkerDefinition,
  type WorkerOptions,
} from "./worker.ts";
