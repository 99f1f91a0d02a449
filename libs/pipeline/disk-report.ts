import { statfs } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { Redis } from "ioredis";
import { z } from "zod";
import { type DiskName, diskKey, diskNames } from "./keys.ts";

/** Milliseconds between two reports, and how long one counts. */
const every = 2_000;
const countsFor = 15_000;

/** What whoever writes to a disk says about it: an edge has no access to it, and is often on another machine. */
export const diskReportSchema = z.object({
  v: z.literal(1),
  name: z.enum(diskNames),
  /** Milliseconds since the epoch. */
  at: z.number(),
  folder: z.string(),
  /** Octets a process without privileges can still write, and octets there are in all. */
  freeBytes: z.number(),
  totalBytes: z.number(),
  /** Octets that must be free, beside room for what Redis holds: STORE_MIN_FREE_MB. */
  minFreeBytes: z.number(),
});
export type DiskReport = z.infer<typeof diskReportSchema>;

/**
 * Reports on the disk under a folder, again and again, for the edges to read. When it stops, the last report expires:
 * a store that is down is no reason to refuse mail, its backlog is.
 * @param minFree octets
 * @param failed told of a report that could not be made; the next is tried all the same
 * @returns a function that ends it
 */
export function reportDisk(
  redis: Redis,
  { name, folder, minFree }: { name: DiskName; folder: string; minFree: number },
  failed: (error: Error) => void,
): () => void {
  const ended = new AbortController();
  const report = async () => {
    const { bavail, blocks, bsize } = await statfs(folder);
    const measured: DiskReport = {
      v: 1,
      name,
      at: Date.now(),
      folder,
      freeBytes: bavail * bsize,
      totalBytes: blocks * bsize,
      minFreeBytes: minFree,
    };
    await redis.set(diskKey(name), JSON.stringify(measured), "PX", countsFor);
  };
  const loop = async () => {
    while (!ended.signal.aborted) {
      await report().catch((error: Error) => {
        // A Redis without memory takes no report, and mail is refused for that already.
        if (!ended.signal.aborted && !/^OOM /.test(error.message)) failed(error);
      });
      await sleep(every, undefined, { ref: false, signal: ended.signal }).catch(() => {});
    }
  };
  void loop();
  return () => ended.abort();
}

/** The reports there are. One that another version wrote counts as none. */
export function diskReports(values: readonly (string | null)[]): DiskReport[] {
  return values.flatMap((json) => {
    const report = json === null ? undefined : diskReportSchema.safeParse(JSON.parse(json));
    return report?.success ? [report.data] : [];
  });
}
