import { scanWorker } from "./scan-worker.ts";

/** Scans what has been stored. */
export default scanWorker("message.stored");
