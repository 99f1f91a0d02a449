import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";

/** Below the ports that Linux gives to outgoing connections, any of which may be one of those a moment later. */
const [first, last] = [15_000, 32_000];

/** tcpmux: nobody listens there, and no test is given it, as it might be with one that was free a moment ago. */
export const closedPort = 1;

/** A port that was free a moment ago. One and the same must serve an edge and its successor. */
export async function freePort(): Promise<number> {
  return freePorts(1);
}

/** The first of several ports in a row that were free a moment ago, as edges on one machine need them. */
export async function freePorts(count: number): Promise<number> {
  for (;;) {
    const start = randomInt(first, last - count);
    const ports = Array.from({ length: count }, (_, i) => start + i);
    if ((await Promise.all(ports.map(isFree))).every(Boolean)) return start;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    await once(server.listen(port, "127.0.0.1"), "listening");
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    return false;
  } finally {
    if (server.listening) await new Promise((closed) => server.close(closed));
  }
}
