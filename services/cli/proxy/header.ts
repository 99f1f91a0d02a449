import { everyEdge, type ProxyPlan } from "./plan.ts";

/**
 * What an edge must be told for the file below it to work, as comments.
 *
 * @param uses what of the plan this proxy makes use of
 */
export function header(
  title: string,
  plan: ProxyPlan,
  uses: { starttlsEdges: boolean; healthPorts: boolean },
): string[] {
  const listeners = [
    ["proxy", plan.edges, ""],
    ["starttls", uses.starttlsEdges ? plan.starttlsEdges : [], ", cert: …, key: …"],
    ["implicit", plan.nativeEdges, ", cert: …, key: …"],
  ] as const;
  const lines = listeners.flatMap(([tls, edges, more]) =>
    edges
      .slice(0, 1)
      .map(
        ({ port }) =>
          `  - { port: ${port}, tls: ${tls}${more}, proxyProtocol: { from: ${whereFrom(plan)} } }`,
      ),
  );
  return [
    title,
    "",
    "It wants these listeners at each edge (millrace.config.yaml), which then take nobody but this proxy:",
    "listeners:",
    ...lines,
    ...(uses.healthPorts && everyEdge(plan).some(({ healthPort }) => healthPort !== undefined)
      ? [
          "and HEALTH_PORT, with SMTP_DRAIN_SECONDS=15: time in which this proxy sees that an edge is to stop.",
        ]
      : []),
  ].map((line) => `# ${line}`.trimEnd());
}

/** The proxy's address as edges see it: known here only when all are on this machine. */
function whereFrom(plan: ProxyPlan): string {
  const local = everyEdge(plan).every(({ host }) => host === "127.0.0.1" || host === "localhost");
  if (local) return "127.0.0.1";
  return everyEdge(plan).every(({ host }) => host === "::1") ? '"::1"' : "<address of this proxy>";
}
