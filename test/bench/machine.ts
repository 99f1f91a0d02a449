import { closeSync, fdatasyncSync, openSync, readFileSync, rmSync, statfsSync, writeSync } from "node:fs";
import { availableParallelism, cpus, release, totalmem } from "node:os";
import { join } from "node:path";

/** What the figures depend on most, in one line; the fsyncs are of this folder's disk, one after another. */
export function machine(folder: string): string {
  const memory = Math.round(totalmem() / 2 ** 30);
  return [
    `${availableParallelism()} cores (${cpus()[0]?.model.trim() ?? "unknown"})`,
    `${memory} GiB`,
    `Linux ${release()}`,
    `Node ${process.versions.node}`,
    `${mountOf(folder)}, ${Math.round(fsyncsPerSecond(folder)).toLocaleString("en")} fsync/s`,
  ].join(", ");
}

/** Whether the folder is in memory, where an fsync costs nothing and proves nothing. */
export function isInMemory(folder: string): boolean {
  const [tmpfs, ramfs] = [0x01021994, 0x858458f6];
  return [tmpfs, ramfs].includes(statfsSync(folder).type);
}

function fsyncsPerSecond(folder: string): number {
  const path = join(folder, `millrace-fsync-${process.pid}`);
  const file = openSync(path, "w");
  try {
    const block = Buffer.alloc(4_096, 1);
    const startedAt = performance.now();
    let count = 0;
    for (; performance.now() - startedAt < 1_000; count++) {
      writeSync(file, block);
      fdatasyncSync(file);
    }
    return (count * 1_000) / (performance.now() - startedAt);
  } finally {
    closeSync(file);
    rmSync(path);
  }
}

function mountOf(folder: string): string {
  const mounts = readFileSync("/proc/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" "))
    .filter(([, at = ""]) => at === "/" || folder === at || folder.startsWith(`${at}/`))
    .sort((a, b) => (b[1]?.length ?? 0) - (a[1]?.length ?? 0));
  const [device, , type] = mounts[0] ?? [];
  return device ? `${device} (${type})` : "unknown disk";
}
