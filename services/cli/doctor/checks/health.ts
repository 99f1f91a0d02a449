import { duration } from "../../terminal.ts";
import { type Finding, failure, ok, skipped, warning } from "../finding.ts";
import { judgeHttpDate } from "./clock.ts";

/** Seconds. A commit waits for an fsync; an event loop that lags keeps every client waiting. */
const [slowCommit, slowLoop] = [0.25, 0.25];
const busy = 0.9;

/**
 * What an edge tells of itself.
 * @param maxClients SMTP_MAX_CLIENTS
 */
export async function checkHealth(
  { host, port }: { host: string; port: number },
  maxClients: number,
  timeout: number,
): Promise<Finding[]> {
  const url = `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
  const ask = (path: string) => fetch(`${url}${path}`, { signal: AbortSignal.timeout(timeout) });
  try {
    const before = Date.now();
    const ready = await ask("/readyz");
    const after = Date.now();
    const says = (await ready.text()).trim();
    const metrics = await (await ask("/metrics")).text();
    return [
      ready.status === 200
        ? ok("ready", `${url}/readyz: ${says}`)
        : failure(
            "ready",
            `${url}/readyz: ${says}`,
            "No balancer sends mail here. Draining: the edge is stopping; else Redis is away, or something is full: millrace status.",
          ),
      load(metrics, maxClients),
      judgeHttpDate(ready.headers.get("date"), before, after),
    ];
  } catch (error) {
    const { cause, message } = error as Error & { cause?: Error };
    return [
      failure(
        "ready",
        `${url} does not answer: ${cause?.message || message}`,
        "The edge does not run, hangs, or runs with another HEALTH_PORT: restart it.",
      ),
    ];
  }
}

/** Whether the edge has more to do than it can. */
function load(metrics: string, maxClients: number): Finding {
  const check = "load";
  const sum = (name: string) =>
    [...metrics.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, "gm"))].reduce(
      (all, [, value]) => all + Number(value),
      0,
    );
  if (!metrics.includes("millrace_edge_")) return skipped(check, "no figures in /metrics");
  const connections = sum("millrace_edge_connections");
  const commits = sum("millrace_edge_commit_seconds_count");
  const commit = commits > 0 ? sum("millrace_edge_commit_seconds_sum") / commits : 0;
  const lag = sum("nodejs_eventloop_lag_p90_seconds");
  const figures = {
    connections,
    commitMs: Math.round(1_000 * commit),
    eventLoopLagMs: Math.round(1_000 * lag),
  };
  const seen = `${connections} of ${maxClients} connections, ${commits > 0 ? `commits of ${duration(1_000 * commit)} on average` : "no message yet"}, event loop ${duration(1_000 * lag)} late (p90)`;
  if (connections > busy * maxClients)
    return warning(
      check,
      seen,
      "Start more edges (millrace up --edges), or raise SMTP_MAX_CLIENTS and the limit of open files.",
      figures,
    );
  if (commit > slowCommit)
    return warning(
      check,
      seen,
      "Redis's disk is slow at fsync, or busy: give it a disk of its own; redis-cli latency doctor.",
      figures,
    );
  if (lag > slowLoop)
    return warning(
      check,
      seen,
      "The edge has too little processor time: start more, on more cores.",
      figures,
    );
  return ok(check, seen, figures);
}
