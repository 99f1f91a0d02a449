export { mail, type TestMail } from "./kit/mail.ts";
export { type LogLine, type RunOptions, type RunResult, runWorker } from "./kit/run-worker.ts";
export { type RunningPipeline, type StartOptions, startPipeline } from "./kit/start-pipeline.ts";
