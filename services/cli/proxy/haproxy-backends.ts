import { address, everyEdge, type ProxyPlan, type Upstream, when } from "./plan.ts";

/** For edges that come and go behind a name: containers, say. */
export function nameServer(plan: ProxyPlan): string[] {
  return when(
    everyEdge(plan).some(({ count }) => count !== undefined),
    "# Asked again and again, so that edges are found as they come, and left when they have gone, without a reload.",
    "resolvers edges_by_name",
    `    nameserver dns ${address(plan.nameServer.host, plan.nameServer.port)}`,
    "    resolve_retries 3",
    "    timeout resolve 1s",
    "    timeout retry   1s",
    "    # More addresses in one answer than the 512 octets that DNS over UDP has without it.",
    "    accepted_payload_size 8192",
    "    hold valid      1s",
    "    # A name server that is away takes no edge away: whether one is well, /readyz says.",
    "    hold timeout    24h",
    "    hold refused    24h",
    "    hold other      24h",
    "",
  );
}

/** Edges of one kind, and how they are asked whether they are well. `proxy` is what they are told of each client. */
export function backend(
  name: string,
  edges: readonly Upstream[],
  proxy: string,
  why: string[],
  smtpCheck = "",
): string[] {
  const healthy = edges.every(({ healthPort }) => healthPort !== undefined);
  const check = healthy
    ? [
        "    # The edge says by itself whether to send it mail: not while it stops, while Redis is away, or while it is full.",
        "    option httpchk GET /readyz",
        "    default-server inter 2s fall 2 rise 2",
      ]
    : [
        "    # An edge that hangs sends no 220. Checks come with a PROXY header of their own (LOCAL), and the edge neither",
        "    # logs nor counts them. Better still is /readyz: --edge <host>:<port>/<health port>",
        "    option tcp-check",
        "    # `default` takes port and PROXY header from each server below; without it every check would fail.",
        `    tcp-check connect default${smtpCheck ? " ssl" : ""}`,
        "    tcp-check expect rstring ^220",
        "    tcp-check send QUIT\\r\\n",
        "    tcp-check expect rstring ^221",
        "    default-server inter 5s fall 2 rise 2",
      ];
  const how = [proxy, "check", ...when(!healthy && smtpCheck !== "", smtpCheck)].join(" ");
  return [
    `backend ${name}`,
    "    balance leastconn",
    ...check,
    ...why.map((line) => `    ${line}`),
    ...edges.flatMap((edge, i) => serverLines(`${name}${i + 1}`, edge, how)),
    "",
  ];
}

function serverLines(name: string, { host, port, healthPort, count }: Upstream, how: string): string[] {
  const options = healthPort === undefined ? how : `${how} port ${healthPort}`;
  if (count === undefined) return [`    server ${name} ${address(host, port)} ${options}`];
  return [
    `    # Room for ${count}: those beyond are not used. None is looked up before the start, so it need not wait for edges.`,
    `    server-template ${name}_ ${count} ${address(host, port)} resolvers edges_by_name resolve-prefer ipv4 init-addr none ${options}`,
  ];
}
