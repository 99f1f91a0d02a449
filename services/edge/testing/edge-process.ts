import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { patientRedis } from "@millrace/service";

/** An edge in a process of its own, as `millrace edge` runs it. */
export interface EdgeProcess {
  process: ChildProcess;
  ports: number[];
  /** Where its health server is. */
  health: string;
  /** The log lines so far. */
  log: Record<string, unknown>[];
  /** Its exit status, once it is gone. */
  ended: Promise<number | null>;
}

/** Starts one with this environment and configuration file on the Redis at `redisUrl`; all ports are free ones. */
export async function startEdgeProcess(
  redisUrl: string,
  config: Record<string, unknown>,
  env: Record<string, string> = {},
): Promise<EdgeProcess> {
  const redis = patientRedis(redisUrl);
  // Without a subscriber the intake takes nothing in: nobody would look at it.
  const subscription = { v: 1, worker: "nobody", events: ["message.received"], since: Date.now() };
  await redis.hset("millrace:subscriptions", "nobody", JSON.stringify(subscription));
  redis.disconnect();
  const cwd = mkdtempSync(join(tmpdir(), "millrace-edge-"));
  const routes = [{ recipients: "*", to: { maildir: "/nowhere" } }];
  writeFileSync(join(cwd, "millrace.config.json"), JSON.stringify({ routes, ...config }));
  const child = fork(join(import.meta.dirname, "../main.ts"), {
    cwd,
    env: { REDIS_URL: redisUrl, HEALTH_PORT: "0", ...env },
    stdio: ["ignore", "inherit", "pipe", "ipc"],
  });
  const log: Record<string, unknown>[] = [];
  let rest = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    const lines = `${rest}${text}`.split("\n");
    rest = lines.pop() as string;
    for (const line of lines) log.push(line.startsWith("{") ? JSON.parse(line) : { msg: line });
  });
  const ended = once(child, "exit").then(([status]) => status as number | null);
  const [ready] = await Promise.race([
    once(child, "message"),
    ended.then((status) => {
      throw new Error(`the edge ended with ${status}: ${JSON.stringify(log)} ${rest}`);
    }),
  ]);
  const { listening, health } = ready as { listening: { port: number }[]; health: number };
  const ports = listening.map(({ port }) => port);
  return { process: child, ports, health: `http://127.0.0.1:${health}`, log, ended };
}
