import { type Finding, ok, warning } from "../finding.ts";
import type { Timing } from "../smtp/dialogue.ts";

/** Milliseconds a step may take before it is worth a word: each is one round trip, and a little work. */
const slow = 1_000;

const inOrder = ["connect", "handshake", "banner", "ehlo"] as const;

/** What each step cost, and what a slow one points at. */
export function checkLatency(timing: Timing): Finding {
  const steps = inOrder.flatMap((step) => {
    const ms = timing[step];
    return ms === undefined ? [] : [[step, Math.round(ms)] as const];
  });
  const seen = steps.map(([step, ms]) => `${step} ${ms} ms`).join(", ");
  const figures = Object.fromEntries(steps.map(([step, ms]) => [`${step}Ms`, ms]));
  const tardy = steps.filter(([, ms]) => ms >= slow).sort(([, a], [, b]) => b - a)[0];
  if (!tardy) return ok("latency", seen, figures);
  return warning("latency", `${seen}: ${tardy[0]} is slow`, cures[tardy[0]], figures);
}

const cures: Record<keyof Timing, string> = {
  connect:
    "The way there is slow, or its queue of new connections is full: compare with ping; nginx: worker_connections and `listen … backlog=`; net.core.somaxconn (millrace systemd prints a sysctl file).",
  handshake:
    "The machine that ends TLS is short of processor time: top; prefer an ECDSA certificate, let sessions be resumed (nginx: ssl_session_cache).",
  banner:
    "A proxy waits before it passes clients on (HAProxy: tcp-request inspect-delay; timeout connect with a dead edge first), the server looks up names, or the edge is overloaded: see its event loop lag and connections in /metrics; start more (millrace up --edges).",
  ehlo: "The edge is overloaded: see nodejs_eventloop_lag_seconds and millrace_edge_connections in /metrics; start more edges (millrace up --edges), give it more processor time.",
};
