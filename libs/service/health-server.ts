import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { StartError } from "./process.ts";

export interface HealthOptions {
  host: string;
  /** 0: any free one. */
  port: number;
  /** Why no work should be sent here now; undefined when it should. */
  unready(): string | undefined;
  /** The figures in Prometheus's text format. */
  metrics(): Promise<{ type: string; text: string }>;
}

export interface HealthServer {
  port: number;
  close(): Promise<void>;
}

/**
 * Tells over HTTP how the process is: `/healthz` answers 200 as long as it answers at all, `/readyz` 200 or 503 with
 * the reason, `/metrics` the figures.
 * @throws StartError when it cannot listen
 */
export async function startHealthServer(options: HealthOptions): Promise<HealthServer> {
  const { host, port, unready, metrics } = options;
  const answers: Record<string, () => Promise<{ status: number; type?: string; text: string }>> = {
    "/healthz": async () => ({ status: 200, text: "ok\n" }),
    "/readyz": async () => {
      const reason = unready();
      return reason === undefined ? { status: 200, text: "ready\n" } : { status: 503, text: `${reason}\n` };
    },
    "/metrics": async () => ({ status: 200, ...(await metrics()) }),
  };
  const server = createServer(async (request, response) => {
    const path = request.url?.split("?")[0] ?? "";
    const answer = Object.hasOwn(answers, path) ? answers[path] : undefined;
    const allowed = request.method === "GET" || request.method === "HEAD";
    const { status, type, text } = !answer
      ? { status: 404, type: undefined, text: "/healthz, /readyz or /metrics\n" }
      : !allowed
        ? { status: 405, type: undefined, text: "GET or HEAD\n" }
        : await answer().catch(() => ({ status: 500, type: undefined, text: "failed\n" }));
    response.writeHead(status, {
      "content-type": type ?? "text/plain; charset=utf-8",
      "cache-control": "no-store",
    });
    response.end(request.method === "HEAD" ? undefined : text);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => {
      reject(
        new StartError(
          `HEALTH_PORT=${port}: cannot listen there on HEALTH_HOST=${host} (${error.message}); choose a free one, or leave it out`,
        ),
      );
    });
    server.listen(port, host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      return closed;
    },
  };
}
