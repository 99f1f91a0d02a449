import { type ChildProcess, fork } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { startRedis } from "@millrace/test/redis";
import { Installation } from "../../support/millrace.ts";
import { message } from "../load.ts";
import { end, type System } from "../system.ts";
import { backlogOf } from "./backlog.ts";

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
  const { edges, clear, stop } = await startEdges(1);
  const [edge] = edges as [RunningEdge];
  return {
    name: "Millrace, one edge",
    port: edge.port,
    clear,
    async peakMemory() {
      const status = await readFile(`/proc/${edge.pid}/status`, "utf8");
      return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1]) * 1_024;
    },
    stop,
  };
}

export interface RunningEdge {
  pid: number;
  port: number;
  /** Of its second listener, which takes sessions from a proxy on this machine. */
  proxiedPort: number;
}

/** The same with several edges on one Redis. */
export async function startEdges(
  count: number,
): Promise<{ edges: RunningEdge[]; clear(): Promise<void>; stop(): Promise<void> }> {
  const redis = await startRedis();
  const installation = new Installation({ env: { REDIS_URL: redis.url } });
  const folder = await mkdtemp(join(tmpdir(), "millrace-edge-"));
  const children: ChildProcess[] = [];
  let backlog: Awaited<ReturnType<typeof backlogOf>> | undefined;
  const stop = async () => {
    backlog?.close();
    for (const child of children) await end(child);
    await installation.remove();
    await redis.stop();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await installation.up();
    await installation.down();
    backlog = await backlogOf(redis.url);
    const listeners = [{ port: 0 }, { name: "proxied", port: 0, proxyProtocol: { from: "127.0.0.1" } }];
    await writeFile(join(folder, "millrace.config.json"), JSON.stringify({ listeners }));
    const edges: RunningEdge[] = [];
    for (let i = 0; i < count; i++) {
      const { PATH = "", HOME = "" } = process.env;
      const child = fork(resolve(import.meta.dirname, "../../../services/cli/bin/millrace.mjs"), ["edge"], {
        cwd: folder,
        // Nobody takes anything out, and what one round leaves must not have the next one refused.
        env: { PATH, HOME, REDIS_URL: redis.url, LOG_LEVEL: "warn", MAX_BACKLOG_MESSAGES: "100000000" },
        stdio: ["ignore", "ignore", "inherit", "ipc"],
        // As `millrace up` starts it.
        execArgv: ["--max-semi-space-size=4"],
      });
      children.push(child);
      const { listening } = (await message(child, "ready")) as { listening: { port: number }[] };
      const [port, proxiedPort] = listening.map((each) => each.port) as [number, number];
      edges.push({ pid: child.pid as number, port, proxiedPort });
    }
    return { edges, clear: backlog.clear, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
