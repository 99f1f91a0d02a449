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
import { type ProxyPlan, when } from "./plan.ts";

/** An nginx configuration that ends implicit TLS and STARTTLS (mail module); for 1.19.8 and newer. */
export function nginxMailFile(plan: ProxyPlan): string {
  const title = "nginx before Millrace's edges, ending STARTTLS too. Check it: nginx -t -c <this file>";
  const ports = portsWithin(plan.internalPort);
  const migrating = plan.nativeEdges.length > 0;
  return `${[
    ...header(title, plan, { starttlsEdges: false, healthPorts: false }),
    "#",
    "# The mail module knows no limit for an address and no balancing. So each session runs through nginx three times: stream{}",
    "# counts it, mail{} ends TLS, stream{} chooses an edge; PROXY headers carry the client's address all the way.",
    "#",
    "# Unlike with `nginx` and `haproxy`, edges see this server's name for the client's EHLO, and clients this file's",
    "# list of extensions.",
    "#",
    ...mainContext(plan),
    "stream {",
    ...streamSettings(plan),
    ...upstream("edges", plan.edges),
    ...(migrating
      ? split(plan, ports.smtps)
      : front(plan, [plan.smtpsPort], ports.smtps, "TLS from the first octet on (RFC 8314).")),
    ...front(plan, plan.starttlsPorts, ports.starttls, "In the clear until STARTTLS."),
    "    # The way out of mail{}: here an edge is chosen.",
    "    server {",
    `        listen 127.0.0.1:${ports.edges} proxy_protocol;`,
    ...fromItself,
    "        proxy_pass edges;",
    "    }",
    "}",
    "",
    ...mail(plan, ports),
    "",
    ...routing(plan, ports),
  ].join("\n")}\n`;
}

/** On which nginx speaks to itself. */
function portsWithin(first: number) {
  return { routing: first, edges: first + 1, smtps: first + 2, starttls: first + 3 };
}
type Ports = ReturnType<typeof portsWithin>;

function front(plan: ProxyPlan, from: readonly number[], to: number, what: string): string[] {
  return [
    `    # ${what}`,
    "    server {",
    ...listens(plan, from),
    ...limit(plan),
    `        proxy_pass 127.0.0.1:${to};`,
    "    }",
    "",
  ];
}

function mail(plan: ProxyPlan, ports: Ports): string[] {
  const server = (listen: string, ...more: string[]) => [
    "    server {",
    `        listen ${listen} proxy_protocol;`,
    ...fromItself,
    "        protocol smtp;",
    ...more,
    "    }",
  ];
  return [
    "mail {",
    `    server_name ${plan.hostname};`,
    ...tlsSettings(plan, "millrace_mail"),
    "",
    "    # What EHLO is told, whatever the edges support. SIZE must be their SMTP_MAX_MESSAGE_BYTES.",
    `    smtp_capabilities PIPELINING 8BITMIME SMTPUTF8 ENHANCEDSTATUSCODES "SIZE ${plan.maxMessageBytes}";`,
    ...(plan.auth
      ? [
          "    # `none`: who does not log in gets through as well, and the edge decides what they may.",
          "    smtp_auth plain login none;",
          "    # The password is asked for here and judged by the edge. Never with xclient: the edge would not be asked.",
          "    proxy_smtp_auth on;",
        ]
      : [
          "    # Nobody needs to log in here; the edge decides whom it takes mail from. To have AUTH announced: --auth",
          "    smtp_auth none;",
        ]),
    "    xclient off;",
    "    proxy_protocol on;",
    "    # The client reads the edge's own words, not nginx's.",
    "    proxy_pass_error_message on;",
    "    # Silence on both sides. Longer than the edge's own limits (300 s a command, 600 s a message), so that it is the",
    "    # edge that ends a session, with a 421.",
    "    proxy_timeout 610s;",
    "    # Until an edge is chosen; after it, proxy_timeout counts.",
    "    timeout 300s;",
    `    auth_http 127.0.0.1:${ports.routing}/edge;`,
    "",
    ...server(`127.0.0.1:${ports.smtps} ssl`),
    ...server(
      `127.0.0.1:${ports.starttls}`,
      "        # Before STARTTLS nginx takes no mail and no password.",
      "        starttls only;",
    ),
    "}",
  ];
}

/** The mail module asks over HTTP where each session goes. */
function routing({ unprivileged }: ProxyPlan, ports: Ports): string[] {
  const folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  return [
    "# mail{} asks over HTTP where a session goes, and always hears: to the edges. No password is judged here.",
    "http {",
    "    access_log off;",
    ...when(
      unprivileged !== undefined,
      ...folders.map((name) => `    ${name}_temp_path ${unprivileged}/${name};`),
    ),
    "    server {",
    `        listen 127.0.0.1:${ports.routing};`,
    "        location = /edge {",
    "            add_header Auth-Status OK;",
    "            add_header Auth-Server 127.0.0.1;",
    `            add_header Auth-Port ${ports.edges};`,
    "            return 204;",
    "        }",
    "    }",
    "}",
  ];
}
