import { header } from "./header.ts";
import {
  fromItself,
  limit,
  listens,
  mainContext,
  split,
  streamSettings,
  tlsSettings,
  upstream,
} from "./nginx-parts.ts";
import type { ProxyPlan } from "./plan.ts";

/** An nginx configuration that ends implicit TLS and passes STARTTLS on (stream module); for 1.18 and newer. */
export function nginxFile(plan: ProxyPlan): string {
  const title = "nginx before Millrace's edges. Check it: nginx -t -c <this file>";
  const migrating = plan.nativeEdges.length > 0;
  return `${[
    ...header(title, plan, { starttlsEdges: true, healthPorts: false }),
    "#",
    ...mainContext(plan),
    "stream {",
    ...streamSettings(plan),
    ...tlsSettings(plan, "millrace_smtps"),
    "    ssl_handshake_timeout 10s;",
    "",
    ...upstream("edges", plan.edges),
    ...(migrating ? split(plan, plan.internalPort) : []),
    "    # TLS from the first octet on (RFC 8314), ended here.",
    "    server {",
    ...(migrating
      ? [`        listen 127.0.0.1:${plan.internalPort} ssl proxy_protocol;`, ...fromItself]
      : [...listens(plan, [plan.smtpsPort], " ssl"), ...limit(plan)]),
    "        proxy_pass edges;",
    "    }",
    "",
    ...starttls(plan),
    "}",
  ].join("\n")}\n`;
}

function starttls(plan: ProxyPlan): string[] {
  if (plan.starttlsEdges.length === 0)
    return [
      "    # No port for STARTTLS: stream{} cannot end it (`millrace proxy nginx-mail` can), it can only pass it on to edges",
      "    # with a certificate of their own (--starttls-edge <host:port>). Never `ssl` on 587: its clients begin in the",
      "    # clear, and would wait forever.",
    ];
  return [
    "    # In the clear until STARTTLS, which the edge answers with its own certificate.",
    ...upstream("starttls_edges", plan.starttlsEdges),
    "    server {",
    ...listens(plan, plan.starttlsPorts),
    ...limit(plan),
    "        proxy_pass starttls_edges;",
    "    }",
  ];
}
