import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { until } from "./until.ts";

/** Debian keeps servers where only root looks. */
export const serverPath = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };

export interface ProxyProcess {
  pid: number;
  stop(): Promise<void>;
}

/** Starts a proxy that stays in the foreground, and waits until something answers on each of its ports. */
export async function startProxy(
  words: [string, ...string[]],
  ports: readonly number[],
  env: Record<string, string> = {},
): Promise<ProxyProcess> {
  const [program, ...rest] = words;
  const child = spawn(program, rest, { stdio: ["ignore", "pipe", "pipe"], env: { ...serverPath, ...env } });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (text) => {
      said += text;
    });
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGTERM");
    await once(child, "exit");
  };
  try {
    await until(async () => {
      if (child.exitCode !== null) throw new Error(`${program} ended: ${said}`);
      return (await Promise.all(ports.map(answers))).every(Boolean);
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return { pid: child.pid as number, stop };
}

/** Whether the proxy lets a connection through to an edge, or at least to a handshake of its own. */
function answers(port: number): Promise<boolean> {
  const socket = connect({ port, host: "127.0.0.1", localAddress: "127.0.0.200" });
  return new Promise((resolve) => {
    const timer = setTimeout(() => done(true), 300);
    const done = (open: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(open);
    };
    socket.on("error", () => done(false)).on("close", () => done(false));
    socket.on("data", () => done(true));
  });
}
