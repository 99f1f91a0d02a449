// For the services and the command: what runs workers. Those who write workers want `@millrace/pipeline` alone.
export { type AuditOptions, audit } from "./audit/audit.ts";
export {
  type AuditFinding,
  type AuditProblem,
  type AuditReport,
  auditProblems,
  type BlobCheck,
} from "./audit/report.ts";
export { type DiskReport, reportDisk } from "./disk-report.ts";
export { type LostJob, retryNow, takeBack } from "./in-hand.ts";
export type { Intake, Unavailable } from "./intake.ts";
export { type JournalTail, journalTail } from "./journal.ts";
export { type Ledger, redisLedger } from "./ledger.ts";
export { type LedgerReplay, type LeftRun, replayRuns } from "./ledger-replay.ts";
export { type MemoryRoom, memoryRoom } from "./memory-room.ts";
export { openIntake } from "./open-intake.ts";
export { bodyOf, openPipeline, type Pipeline } from "./open-pipeline.ts";
export { type PersonInFlight, personInFlight } from "./person-in-flight.ts";
export { readPressure } from "./pressure.ts";
export type { PressureSettings } from "./pressure-marks.ts";
export {
  discard as discardHeld,
  type HeldMessage,
  heldMessage,
  release as releaseHeld,
} from "./quarantine.ts";
export { openQueues, type QueueCounts, type Queues } from "./queues.ts";
export { startReconciler } from "./reconciler.ts";
export { type RemovedInFlight, removeMessage, stillInFlight } from "./remove-message.ts";
export { type ReplayCount, replay } from "./replay.ts";
export { deadLetterItems, type ReplayItem, storedItems } from "./replay-items.ts";
export { type RetentionOptions, type RetentionSummary, retain } from "./retention.ts";
export { defaultRetry, type Progress, retryDelay } from "./retry.ts";
export { type RunningWorker, startWorker, type WorkerTiming } from "./start-worker.ts";
export { type Submission, submitMessage } from "./submit-message.ts";
export { openSubscriptions, type Subscription } from "./subscriptions.ts";
export { removeWorker, type WorkerState, workerState } from "./worker-control.ts";
export { forgetProcess, type WorkerProcess } from "./worker-processes.ts";
