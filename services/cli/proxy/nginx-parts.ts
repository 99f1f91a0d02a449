import { posix } from "node:path";
import { ciphers } from "./haproxy.ts";
import { address, isName, type ProxyPlan, type Upstream, when } from "./plan.ts";

/** Main context: what stands before the blocks of every nginx file. */
export function mainContext({ unprivileged }: ProxyPlan): string[] {
  return [
    "# A whole nginx.conf: it takes the place of /etc/nginx/nginx.conf, or runs as an nginx of its own (nginx -c).",
    "# stream{} must not stand in /etc/nginx/conf.d: that folder is read inside of http{}.",
    "",
    "worker_processes auto;",
    "worker_rlimit_nofile 20000;",
    ...(unprivileged
      ? [`daemon off;`, `pid ${unprivileged}/nginx.pid;`, "error_log stderr notice;"]
      : ["pid /run/nginx.pid;", "error_log /var/log/nginx/error.log warn;"]),
    "# Debian's modules: apt-get install libnginx-mod-stream libnginx-mod-mail. Where they are built in, there is no such folder.",
    "include /etc/nginx/modules-enabled/*.conf;",
    "# After a reload, old workers live as long as their sessions; no longer than this.",
    "worker_shutdown_timeout 15m;",
    "",
    "# Each session takes two, and two more for each time nginx passes it on to itself.",
    "events { worker_connections 8192; }",
    "",
  ];
}

/** Inside stream{}: log, limit and time-outs. */
export function streamSettings({ unprivileged, logsSessions, maxPerIp, accessLog }: ProxyPlan): string[] {
  return [
    ...when(
      logsSessions,
      "    log_format smtp '$remote_addr:$remote_port [$time_iso8601] $status '",
      "                    'out=$bytes_sent in=$bytes_received t=$session_time '",
      "                    'up=$upstream_addr tls=$ssl_protocol/$ssl_cipher';",
      `    access_log ${accessLog ?? `${unprivileged ?? "/var/log/nginx"}/smtp-access.log`} smtp;`,
      "",
    ),
    ...when(
      maxPerIp > 0,
      "    # One budget for all ports. Refused before any handshake: the client sees its connection closed (status 503 here).",
      "    limit_conn_zone $binary_remote_addr zone=per_ip:10m;",
      "    limit_conn_log_level warn;",
      "",
    ),
    "    proxy_connect_timeout 5s;",
    "    # Silence on both sides. Longer than the edge's own limits (300 s a command, 600 s a message), so that it is the",
    "    # edge that ends a session, with a 421.",
    "    proxy_timeout 610s;",
    "    # Version 1: the client's address. nginx cannot tell TLS version and cipher.",
    "    proxy_protocol on;",
    "",
  ];
}

/** Inside stream{} or mail{}. */
export function tlsSettings(plan: ProxyPlan, cache: string): string[] {
  const cert = plan.cert ?? `/etc/letsencrypt/live/${plan.hostname}/fullchain.pem`;
  return [
    "    # The certificate with its chain. Read at the start and at a reload: millrace certbot-hook nginx",
    `    ssl_certificate     ${cert};`,
    `    ssl_certificate_key ${plan.key ?? posix.join(posix.dirname(cert), "privkey.pem")};`,
    "    ssl_protocols       TLSv1.2 TLSv1.3;",
    `    ssl_ciphers         ${ciphers};`,
    `    ssl_session_cache   shared:${cache}:10m;`,
    "    ssl_session_tickets off;",
  ];
}

export function upstream(name: string, edges: readonly Upstream[]): string[] {
  return [
    `    upstream ${name} {`,
    "        # Without a zone each worker process counts for itself.",
    `        zone ${name} 64k;`,
    "        least_conn;",
    "        # nginx asks no edge how it is: one that refuses a connection is left out for 10 s, and the client goes to the next.",
    ...when(
      edges.some(({ host }) => isName(host)),
      "        # A name is looked up when nginx starts, and must be known then; each address it stands for is an edge of its own.",
      "        # What DNS says later counts after a reload (nginx -s reload), which ends no session.",
    ),
    ...edges.map(({ host, port }) => `        server ${address(host, port)} max_fails=1 fail_timeout=10s;`),
    "    }",
    "",
  ];
}

/** `listen` lines of a port that clients connect to. */
export function listens({ listen }: ProxyPlan, ports: readonly number[], how = ""): string[] {
  return ports.flatMap((port) =>
    listen === undefined
      ? [`        listen ${port}${how};`, `        listen [::]:${port}${how};`]
      : [`        listen ${address(listen, port)}${how};`],
  );
}

export function limit({ maxPerIp }: ProxyPlan): string[] {
  return when(maxPerIp > 0, `        limit_conn per_ip ${maxPerIp};`);
}

/** The TLS port while sessions move over to edges that end TLS themselves: a share goes there, as it comes. */
export function split(plan: ProxyPlan, endedHere: number): string[] {
  const { migrateWeight, nativeEdges, smtpsPort } = plan;
  return [
    `    # Migration: ${migrateWeight} % of new sessions go to edges that end TLS themselves, the others to 127.0.0.1, where nginx`,
    "    # ends it. While none of those edges is up, their share is refused: then --migrate-weight 0, and reload.",
    ...upstream("native", nativeEdges),
    `    upstream ended_here { server 127.0.0.1:${endedHere}; }`,
    '    split_clients "$remote_addr:$remote_port $msec" $smtps {',
    ...when(migrateWeight > 0, `        ${migrateWeight}% native;`),
    "        *  ended_here;",
    "    }",
    "    server {",
    ...listens(plan, [smtpsPort]),
    ...limit(plan),
    "        proxy_pass $smtps;",
    "    }",
    "",
  ];
}

/** For a listener that nginx itself connects to: whom its PROXY header may come from. */
export const fromItself = [
  "        # nginx's own PROXY header: it keeps the client's address.",
  "        set_real_ip_from 127.0.0.1;",
];
