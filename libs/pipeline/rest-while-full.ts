import type { Logger } from "@millrace/service";
import type { Worker } from "bullmq";

/** Milliseconds between two tries at a full Redis. */
const rest = 1_000;

/**
 * Lets a BullMQ worker rest while Redis has reached its `maxmemory`: it cannot be given a job then, and would ask for
 * one thousands of times a second. Jobs under way go on.
 */
export function restWhileFull(bull: Worker, log: Pick<Logger, "warn" | "info">): void {
  let full = false;
  bull.on("error", (error) => {
    if (!/^OOM /.test(error.message) || bull.isPaused() || bull.closing) return;
    if (!full) log.warn({ worker: bull.name }, "Redis has reached its maxmemory: no jobs for now");
    full = true;
    void bull.pause(true);
    setTimeout(() => {
      if (!bull.closing) void bull.resume();
    }, rest).unref();
  });
  bull.on("active", () => {
    if (full) log.info({ worker: bull.name }, "Redis has room: jobs again");
    full = false;
  });
}
