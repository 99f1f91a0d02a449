import { header } from "./header.ts";
import { address, isName, type ProxyPlan, type Upstream, when } from "./plan.ts";

/**
 * A Caddyfile for a Caddy with caddy-l4: Caddy by itself proxies HTTP alone. For caddy-l4 0.1.2, and formatted as
 * `caddy fmt` does it.
 */
export function caddyFile(plan: ProxyPlan): string {
  const title =
    "Caddy before Millrace's edges. Check it: caddy validate --adapter caddyfile --config <this file>";
  return `${[
    ...header(title, plan, { starttlsEdges: true, healthPorts: false }),
    "#",
    "# Needs Caddy with caddy-l4: xcaddy build --with github.com/mholt/caddy-l4@v0.1.2",
    "# It knows no limit for an address and no time-out of its own: the edges hold theirs (SMTP_MAX_CLIENTS, 300 s a command).",
    "# A change: caddy reload --adapter caddyfile --config <this file>; open sessions go on. A restart cuts them off.",
    "{",
    ...globalOptions(plan).map(indented),
    "\tlayer4 {",
    ...smtps(plan).map(indented).map(indented),
    ...starttls(plan).map(indented).map(indented),
    "\t}",
    "}",
    "",
    ...certificate(plan),
  ].join("\n")}\n`;
}

function globalOptions({ unprivileged, cert, httpPort, httpsPort, acme, acmeRoot }: ProxyPlan): string[] {
  return [
    ...(unprivileged
      ? [
          "# Where `caddy reload` finds it, and its certificates.",
          `admin unix/${unprivileged}/caddy.sock`,
          `storage file_system ${unprivileged}/caddy-storage`,
          "persist_config off",
        ]
      : ["# Whoever gets through to it may change everything: this machine alone.", "admin 127.0.0.1:2019"]),
    ...(cert === undefined
      ? [
          ...when(httpPort !== 80, `http_port ${httpPort}`),
          ...when(httpsPort !== 443, `https_port ${httpsPort}`),
          ...when(acme !== undefined, `acme_ca ${acme}`),
          ...when(acmeRoot !== undefined, `acme_ca_root ${acmeRoot}`),
        ]
      : ["# No port 80.", "auto_https disable_redirects"]),
    "servers {",
    "\tprotocols h1 h2",
    "}",
    "",
  ];
}

/** The TLS port. While sessions move over to edges that end TLS themselves, a share goes there as it comes. */
function smtps(plan: ProxyPlan): string[] {
  const { edges, nativeEdges, smtpsPort } = plan;
  const endedHere = [...tls(plan), ...proxy(edges)];
  if (nativeEdges.length === 0)
    return [
      "# TLS from the first octet on (RFC 8314), ended here.",
      ...server([port(plan, smtpsPort)], ...endedHere),
    ];
  const itself = `127.0.0.1:${plan.internalPort}`;
  return [
    "# TLS from the first octet on (RFC 8314).",
    ...server([port(plan, smtpsPort)], ...split(plan, itself)),
    "# TLS ended here, of the sessions that do not move over yet. Caddy's own PROXY header keeps the client's address.",
    ...server([itself], "proxy_protocol {", "\tallow 127.0.0.1/32", "\ttimeout 5s", "}", ...endedHere),
  ];
}

function split({ migrateWeight, nativeEdges }: ProxyPlan, itself: string): string[] {
  const weighted = (dial: string, weight: number) =>
    // A weight of 0 would count as 1.
    when(weight > 0, `\tupstream ${dial} {`, `\t\tweight ${weight}`, "\t}");
  return [
    "proxy {",
    `\t# Migration: ${migrateWeight} % of new sessions go to edges that end TLS themselves, the others to ${itself}, where`,
    "\t# Caddy ends it. One that refuses a connection is left out for 10 s, and the client goes to another.",
    "\tproxy_protocol v2",
    "\tlb_policy weighted_round_robin",
    "\tlb_try_duration 5s",
    "\tfail_duration 10s",
    ...weighted(itself, (100 - migrateWeight) * nativeEdges.length),
    ...nativeEdges.flatMap(({ host, port }) => weighted(address(host, port), migrateWeight)),
    "}",
  ];
}

function starttls(plan: ProxyPlan): string[] {
  if (plan.starttlsEdges.length === 0)
    return [
      "# No port for STARTTLS: Caddy cannot end it, it can only pass it on to edges with a certificate of their own",
      "# (--starttls-edge <host:port>).",
    ];
  return [
    "# In the clear until STARTTLS, which the edge answers with its own certificate.",
    ...server(
      plan.starttlsPorts.map((each) => port(plan, each)),
      ...proxy(plan.starttlsEdges),
    ),
  ];
}

function tls({ hostname }: ProxyPlan): string[] {
  return [
    "tls {",
    "\tconnection_policy {",
    "\t\tprotocols tls1.2 tls1.3",
    "\t\t# For clients that name no server (SNI), or another one: many mail servers do.",
    `\t\tdefault_sni ${hostname}`,
    `\t\tfallback_sni ${hostname}`,
    "\t}",
    "}",
  ];
}

function proxy(edges: readonly Upstream[]): string[] {
  return [
    "proxy {",
    "\t# PROXY v2 tells the edge the client's address; not its TLS version and cipher.",
    "\tproxy_protocol v2",
    "\t# One after the other. Not least_conn: it counts sessions that begin, and none that end, so that an edge which",
    "\t# was away would then get each new one.",
    "\tlb_policy round_robin",
    "\t# An edge that takes no connection gets no session. No health_port: sessions would be sent to it, too. So Caddy",
    "\t# learns that an edge stops when that listens no more; its client then goes to the next.",
    "\thealth_interval 2s",
    "\thealth_timeout 2s",
    "\tfail_duration 10s",
    "\tlb_try_duration 5s",
    ...when(
      edges.some(({ host }) => isName(host)),
      "\t# A name is looked up for each session, and counts as one edge however many addresses it stands for: name each edge.",
    ),
    ...edges.map(({ host, port }) => `\tupstream ${address(host, port)}`),
    "}",
  ];
}

function server(addresses: readonly string[], ...handlers: string[]): string[] {
  return [`${addresses.join(" ")} {`, "\troute {", ...handlers.map(indented).map(indented), "\t}", "}"];
}

/** What makes Caddy have the certificate that the tls handler uses: a site of that name. */
function certificate({ hostname, cert, key, listen, internalPort }: ProxyPlan): string[] {
  if (cert === undefined)
    return [
      "# Makes Caddy obtain the certificate that the tls handler above uses, and renew it while sessions go on (ports 80",
      "# and 443 must reach it).",
      `${hostname} {`,
      ...when(listen !== undefined, `\tbind ${listen}`),
      "\trespond 204",
      "}",
    ];
  return [
    "# Makes Caddy read the certificate that the tls handler above uses; nobody need reach this port. Files that have",
    "# changed are read at: caddy reload --force --adapter caddyfile --config <this file>",
    `https://${hostname}:${internalPort + 1} {`,
    "\tbind 127.0.0.1",
    `\ttls ${cert} ${key ?? cert.replace(/[^/]*$/, "privkey.pem")}`,
    "\trespond 204",
    "}",
  ];
}

function port({ listen }: ProxyPlan, number: number): string {
  return listen === undefined ? `:${number}` : address(listen, number);
}

function indented(line: string): string {
  return line === "" ? line : `\t${line}`;
}
