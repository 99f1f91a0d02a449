import { rm } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";

/** Stands before a Redis, and can let the connections through it die without either side being told. */
export interface DeadLine {
  url: string;
  /** Connections there are. */
  open(): number;
  /** From now on nothing passes on the connections that there are now; they stay open. Later ones work. */
  die(): void;
  close(): Promise<void>;
}

/** @param url of a Redis on a unix socket */
export async function startDeadLine(url: string): Promise<DeadLine> {
  const path = url.slice("unix://".length);
  const front = `${path}.line`;
  const lines = new Set<{ dead: boolean; sockets: Socket[] }>();
  const listener = createServer({ allowHalfOpen: true }, (client) => {
    const upstream = connect({ path, allowHalfOpen: true });
    const line = { dead: false, sockets: [client, upstream] };
    lines.add(line);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      from.on("data", (data) => line.dead || to.write(data));
      from.on("end", () => line.dead || to.end());
      from.on("error", () => {});
      from.on("close", () => {
        lines.delete(line);
        if (!line.dead) to.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => listener.listen(front, resolve));
  return {
    url: `unix://${front}`,
    open: () => lines.size,
    die() {
      for (const line of lines) line.dead = true;
    },
    async close() {
      for (const { sockets } of lines) for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => listener.close(resolve));
      await rm(front, { force: true });
    },
  };
}
