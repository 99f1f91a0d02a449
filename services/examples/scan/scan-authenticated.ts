import { scanWorker } from "./scan-worker.ts";

/** Scans what `authenticate` has passed on, with its field: start that with `clears: false`. */
export default scanWorker("mail.authenticated");
