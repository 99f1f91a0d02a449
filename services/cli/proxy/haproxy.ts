import { backend, nameServer } from "./haproxy-backends.ts";
import { header } from "./header.ts";
import { address, type ProxyPlan, when } from "./plan.ts";

const cipherList = [
  ...["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"],
  ...["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"],
  ...["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"],
];
/** For TLS 1.2; those of 1.3 are all good. In OpenSSL's words, which HAProxy and nginx have in common. */
export const ciphers = cipherList.join(":");

/** A HAProxy configuration, for 2.4 and newer. */
export function haproxyFile(plan: ProxyPlan): string {
  const migrating = plan.nativeEdges.length > 0;
  const title = `HAProxy before Millrace's edges. Check it: haproxy -c -f <this file>`;
  return `${[
    ...header(title, plan, { starttlsEdges: true, healthPorts: true }),
    "",
    ...globalPart(plan),
    "",
    ...defaultsPart(),
    "",
    ...nameServer(plan),
    ...limitTable(plan),
    ...(migrating ? migration(plan) : smtps(plan)),
    "",
    ...backend("edges", plan.edges, "send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher", [
      "# PROXY v2 tells the edge the client's address, and TLS version, cipher and client certificate.",
    ]),
    ...starttls(plan),
    ...stats(plan),
  ].join("\n")}\n`;
}

function globalPart({ unprivileged, logsSessions }: ProxyPlan): string[] {
  const process = unprivileged
    ? [
        "    # Runs in the foreground, as whoever starts it.",
        ...when(logsSessions, "    log stderr format raw local0"),
        `    stats socket ${unprivileged}/haproxy.sock mode 600 level admin expose-fd listeners`,
      ]
    : [
        "    # Debian's journal or rsyslog listens here. In a container: log stdout format raw local0",
        "    log /dev/log local0",
        "    chroot /var/lib/haproxy",
        "    # For root alone: with level admin one can take edges out, and load certificates (millrace certbot-hook).",
        "    stats socket /run/haproxy/admin.sock mode 600 level admin expose-fd listeners",
        "    user haproxy",
        "    group haproxy",
        "    daemon",
        "    # On few cores it takes the edges' for each piece of a session, unless its unit has CPUSchedulingPolicy=batch.",
      ];
  return [
    "global",
    ...process,
    "    # Two descriptors a session: `haproxy -c` does not notice when the limit (ulimit -n) is too low for it.",
    "    maxconn 4000",
    "    # After a reload, old processes live as long as their sessions; no longer than this.",
    "    hard-stop-after 15m",
    `    ssl-default-bind-ciphers ${ciphers}`,
    "    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets",
  ];
}

function defaultsPart(): string[] {
  return [
    "defaults",
    "    log     global",
    "    mode    tcp",
    "    # Port scans and checks that send nothing leave no line.",
    "    option  dontlognull",
    "    # A session that finds its edge just gone goes to another at the first retry: nobody has spoken yet.",
    "    option  redispatch 1",
    "    retries 3",
    "    timeout connect 5s",
    "    # Silence on both sides. Longer than the edge's own limits (300 s a command, 600 s a message), so that it is",
    "    # the edge that ends a session, with a 421.",
    "    timeout client  610s",
    "    timeout server  610s",
    "    timeout check   5s",
  ];
}

function limitTable({ maxPerIp, maxRatePerIp }: ProxyPlan): string[] {
  return when(
    maxPerIp + maxRatePerIp > 0,
    "# One budget for all ports. See it: echo 'show table per_ip' | socat - <stats socket>",
    "backend per_ip",
    "    stick-table type ipv6 size 100k expire 10m store conn_cur,conn_rate(60s)",
    "",
  );
}

/** Before TLS, so that it costs nothing. The client sees its connection reset, and no line is logged. */
function limits({ maxPerIp, maxRatePerIp }: ProxyPlan): string[] {
  const tooMany = [
    ...when(maxPerIp > 0, `{ sc0_conn_cur(per_ip) gt ${maxPerIp} }`),
    ...when(maxRatePerIp > 0, `{ sc0_conn_rate(per_ip) gt ${maxRatePerIp} }`),
  ];
  return when(
    tooMany.length > 0,
    "    # Refused before any handshake: the client sees a reset, and the log has no line of it.",
    "    tcp-request connection track-sc0 src table per_ip",
    `    tcp-request connection reject if ${tooMany.join(" or ")}`,
  );
}

function bind({ listen }: ProxyPlan, port: number, more = ""): string {
  const where = listen === undefined ? `:::${port} v4v6` : address(listen, port);
  return `    bind ${where}${more}`;
}

/** What follows `ssl` in a bind line. */
function certificates({ cert, hostname, clientCa }: ProxyPlan): string {
  const own = `crt ${cert ?? `/etc/haproxy/certs/${hostname}.pem`}`;
  return clientCa === undefined ? own : `${own} ca-file ${clientCa} verify optional`;
}

const pemComment =
  "    # One PEM file: the certificate with its chain, then the key; for root alone (chmod 600).";

function smtps(plan: ProxyPlan): string[] {
  return [
    "# TLS from the first octet on (RFC 8314), ended here.",
    "frontend smtps",
    ...when(plan.logsSessions, "    option tcplog"),
    pemComment,
    bind(plan, plan.smtpsPort, ` ssl ${certificates(plan)}`),
    ...limits(plan),
    "    default_backend edges",
  ];
}

/** The port takes TLS as it comes; a share goes to edges that end it themselves, the rest round through a socket. */
function migration(plan: ProxyPlan): string[] {
  const { migrateWeight, nativeEdges, smtpsPort } = plan;
  // Such names are the machine's: another HAProxy there has one of its own.
  const itself = `abns@millrace-${smtpsPort}`;
  return [
    `# Migration: ${migrateWeight} % of new sessions go to edges that end TLS themselves, the others are ended here.`,
    "frontend smtps",
    bind(plan, plan.smtpsPort),
    ...limits(plan),
    "    # While none of those edges is up, everything is ended here.",
    `    use_backend native if { rand(100) lt ${migrateWeight} } { nbsrv(native) gt 0 }`,
    "    default_backend ended_here",
    "",
    "# HAProxy speaks to itself over a socket without a file (Linux alone); the PROXY header keeps the client's address.",
    "backend ended_here",
    `    server self ${itself} send-proxy-v2`,
    "frontend smtps_ended_here",
    ...when(plan.logsSessions, "    option tcplog"),
    pemComment,
    `    bind ${itself} accept-proxy ssl ${certificates(plan)}`,
    "    default_backend edges",
    "",
    ...backend(
      "native",
      nativeEdges,
      "send-proxy-v2",
      ["# The PROXY header stands before the TLS handshake."],
      // The check is to see that it answers; whether its certificate is good, its clients see.
      "check-ssl verify none",
    ),
  ].slice(0, -1);
}

function starttls(plan: ProxyPlan): string[] {
  if (plan.starttlsEdges.length === 0)
    return [
      `# No port for STARTTLS: HAProxy cannot end it, it can only pass it on to edges with a certificate of their own`,
      "# (--starttls-edge <host:port>). Never `ssl` on 587: its clients begin in the clear, and would wait forever.",
    ];
  return [
    "# In the clear until STARTTLS, which the edge answers with its own certificate.",
    "frontend starttls",
    ...when(plan.logsSessions, "    option tcplog"),
    ...plan.starttlsPorts.map((port) => bind(plan, port)),
    ...limits(plan),
    "    default_backend starttls_edges",
    "",
    ...backend("starttls_edges", plan.starttlsEdges, "send-proxy-v2", []).slice(0, -1),
  ];
}

function stats({ statsPort }: ProxyPlan): string[] {
  return when(
    statsPort > 0,
    "",
    "# Figures for Prometheus, and a page to read. On this machine alone, and nothing can be changed there.",
    "frontend stats",
    "    mode http",
    `    bind 127.0.0.1:${statsPort}`,
    "    timeout client 10s",
    "    http-request use-service prometheus-exporter if { path /metrics }",
    "    stats enable",
    "    stats uri /stats",
  );
}
