import type { LimitName } from "@millrace/limits";
import type { Intake } from "@millrace/pipeline/runtime";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { ArrivalFailure } from "./proxied-server.ts";
import { type Refusal, refusals } from "./refusal.ts";

/** What an edge counts. Names and labels are for Prometheus, and stay. */
export interface EdgeMetrics {
  spoke(listener: string): void;
  probed(listener: string): void;
  replied(listener: string, code: number): void;
  failed(listener: string, failure: ArrivalFailure): void;
  unauthenticated(listener: string, refusal: Refusal): void;
  limited(limit: LimitName): void;
  /** A limit that was not asked, since Redis did not answer. */
  unasked(): void;
  /** The intake, with every commit timed. */
  timed(intake: EdgeIntake): EdgeIntake;
  /** Everything in Prometheus's text format. */
  text(): Promise<{ type: string; text: string }>;
}

export type EdgeIntake = Pick<Intake, "unavailable" | "draft" | "accept">;

/** What is looked at when somebody asks, rather than counted. */
export interface EdgeState {
  /** Open sessions of each listener, by its name. */
  connections(): Map<string, number>;
  unready(): string | undefined;
  unavailable(): ReturnType<Intake["unavailable"]>;
  /** When each certificate expires, in milliseconds since the epoch. */
  expiries(): { cert: string; at: number }[];
}

/** Seconds. From an fsync of a fast disk to the longest SMTP_COMMIT_TIMEOUT_SECONDS. */
const commitBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15];

const authFailureReasons = new Map<Refusal, string>([
  [refusals.credentialsInvalid, "credentials"],
  [refusals.tooManyAttempts.client, "client_limit"],
  [refusals.tooManyAttempts.user, "user_limit"],
  [refusals.authenticationUnavailable, "unavailable"],
]);

export function edgeMetrics(state: EdgeState): EdgeMetrics {
  const registers = [new Registry()];
  const [registry] = registers as [Registry];
  let asked = false;
  const counter = <const L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Counter({ name: `millrace_edge_${name}`, help, labelNames: [...labelNames], registers });
  const gauge = <const L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    collect: (this: Gauge<L>) => void,
  ) => new Gauge({ name: `millrace_edge_${name}`, help, labelNames: [...labelNames], registers, collect });

  const sessions = counter("sessions_total", "Connections that said more than QUIT.", ["listener"]);
  const probes = counter(
    "probes_total",
    "Connections that said nothing, or only QUIT, or were a proxy's own: health checks.",
    ["listener"],
  );
  const accepted = counter("messages_accepted_total", "Messages acknowledged with 250.", []);
  const refused = counter("refusals_total", "Replies with 4xx and 5xx, by code.", ["listener", "code"]);
  const failures = counter(
    "arrival_failures_total",
    "Connections closed for their PROXY header or their TLS handshake.",
    ["listener", "what", "kind"],
  );
  const authFailures = counter(
    "auth_failures_total",
    "Attempts at AUTH that were refused: for their credentials, a limit of the address or the user, or because nobody could be asked.",
    ["listener", "reason"],
  );
  const limited = counter("limited_total", "Connections, MAIL and RCPT refused by a limit, by its name.", [
    "limit",
  ]);
  const unasked = counter(
    "limits_unasked_total",
    "Connections, MAIL and RCPT let through since Redis did not answer for their limits.",
    [],
  );
  const commits = new Histogram({
    name: "millrace_edge_commit_seconds",
    help: "Time Redis took to commit a message, by outcome.",
    labelNames: ["outcome"],
    buckets: commitBuckets,
    registers,
  });
  gauge("connections", "Open sessions.", ["listener"], function () {
    for (const [listener, count] of state.connections()) this.set({ listener }, count);
  });
  gauge("ready", "1 when /readyz says 200.", [], function () {
    this.set(state.unready() === undefined ? 1 : 0);
  });
  gauge("redis_up", "1 when Redis can take mail in, or could if it were not full.", [], function () {
    this.set(state.unavailable()?.why === "away" ? 0 : 1);
  });
  gauge("full", "1 when new mail gets 452: memory, a disk or the backlog is past its mark.", [], function () {
    this.set(state.unavailable()?.why === "full" ? 1 : 0);
  });
  gauge("certificate_expiry_timestamp_seconds", "When a certificate expires.", ["cert"], function () {
    for (const { cert, at } of state.expiries()) this.set({ cert }, at / 1_000);
  });

  return {
    spoke: (listener) => sessions.inc({ listener }),
    probed: (listener) => probes.inc({ listener }),
    replied: (listener, code) => refused.inc({ listener, code: String(code) }),
    failed: (listener, { what, kind }) => failures.inc({ listener, what, kind }),
    unauthenticated: (listener, refusal) =>
      authFailures.inc({ listener, reason: authFailureReasons.get(refusal) ?? "other" }),
    limited: (limit) => limited.inc({ limit }),
    unasked: () => unasked.inc(),
    timed(intake) {
      return {
        unavailable: intake.unavailable,
        draft: intake.draft,
        async accept(draft, manifest) {
          const startedAt = performance.now();
          let outcome = "failed";
          try {
            await intake.accept(draft, manifest);
            outcome = "committed";
            accepted.inc();
          } finally {
            commits.observe({ outcome }, (performance.now() - startedAt) / 1_000);
          }
        },
      };
    },
    async text() {
      // They keep timers of their own, which an edge that nobody asks does not need.
      if (!asked) collectDefaultMetrics({ register: registry });
      asked = true;
      return { type: registry.contentType, text: await registry.metrics() };
    },
  };
}
