import { fork } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { startRedis } from "@millrace/test/redis";
import { Installation } from "../../support/millrace.ts";
import { message } from "../load.ts";
import { end, type System } from "../system.ts";

/** The whole pipeline as `millrace up` runs it, with one route: everything goes to an SMTP server. */
export async function startMillrace(sinkPort: number, edges: number): Promise<System> {
  const installation = new Installation({
    config: { routes: [{ recipients: "*", to: { smtp: `smtp://127.0.0.1:${sinkPort}` } }] },
  });
  await installation.up("--edges", String(edges)).catch(async (error: unknown) => {
    await installation.remove();
    throw error;
  });
  return { name: "Millrace", port: installation.port, stop: () => installation.remove() };
}

export interface Edge extends System {
  /** The most memory it has had at once, in octets. */
  peakMemory(): Promise<number>;
}

/**
 * One edge and its Redis (every write fsynced), and no worker that takes its share of the machine. The workers
 * have run once: their subscriptions stand in Redis, and the edge does for each of them what it does in production.
 */
export async function startEdge(): Promise<Edge> {
  const redis = await startRedis();
  const installation = new Installation({ env: { REDIS_URL: redis.url } });
  const folder = await mkdtemp(join(tmpdir(), "millrace-edge-"));
  try {
    await installation.up();
    await installation.remove();
    const { PATH = "", HOME = "" } = process.env;
    const edge = fork(resolve(import.meta.dirname, "../../../services/cli/bin/millrace.mjs"), ["edge"], {
      cwd: folder,
      env: { PATH, HOME, REDIS_URL: redis.url, SMTP_PORT: "0", LOG_LEVEL: "warn" },
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      // As `millrace up` starts it.
      execArgv: ["--max-semi-space-size=4"],
    });
    const { port } = await message(edge, "ready");
    return {
      name: "Millrace, one edge",
      port: Number(port),
      async peakMemory() {
        const status = await readFile(`/proc/${edge.pid}/status`, "utf8");
        return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1]) * 1_024;
      },
      async stop() {
        await end(edge);
        await redis.stop();
        await rm(folder, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await installation.remove();
    await redis.stop();
    throw error;
  }
}
