import { type Command, Option } from "commander";
import { wholeNumber } from "../numbers.ts";
import { CommandError } from "../terminal.ts";
import {
  addressOf,
  count,
  domainName,
  httpsUrl,
  ipAddress,
  listOf,
  nameOf,
  path,
  percent,
  port,
  portOrNone,
  safeDefaultName,
  upstreamOf,
} from "./option-values.ts";
import { type Address, everyEdge, type ProxyPlan, type Upstream } from "./plan.ts";

/** The options as commander hands them over; each value has been read already. */
export interface ProxyOptions {
  hostname: string;
  cert?: string;
  key?: string;
  clientCa?: string;
  edge?: Upstream[];
  edgeDns?: Upstream[];
  starttlsEdge?: Upstream[];
  starttlsEdgeDns?: Upstream[];
  edgeCount?: number;
  nameServer?: Address;
  nativeEdge?: Upstream[];
  migrateWeight?: number;
  listen?: string;
  smtpsPort: number;
  starttlsPort?: number[];
  maxPerIp: number;
  maxRatePerIp: number;
  statsPort: number;
  internalPort: number;
  httpPort?: number;
  httpsPort?: number;
  acme?: string;
  acmeRoot?: string;
  maxMessageBytes: number;
  auth?: boolean;
  accessLog?: string;
  unprivileged?: string;
  check?: boolean;
  out?: string;
}

/** Which of the options a proxy has; the others are the same for all. */
export interface Abilities {
  /** Can pass STARTTLS on to edges. */
  passesOnStarttls: boolean;
  /** Can divide the TLS port between edges that end TLS themselves and its own. */
  migrates: boolean;
  limitsPerIp: boolean;
  limitsRate: boolean;
  separateKey: boolean;
}

const localEdge: Upstream = { host: "127.0.0.1", port: 2525, healthPort: undefined };

export function addOptions(command: Command, abilities: Abilities, name: string): Command {
  const add = <T>(
    flags: string,
    about: string,
    parse: (text: string, before: T | undefined) => T,
    value?: T,
  ) => command.addOption(new Option(flags, about).argParser<T>(parse).default(value));
  add("--hostname <name>", "name that clients connect to", domainName, safeDefaultName());
  add(
    "--edge <host:port>",
    'a listener of an edge with tls "proxy"; again for each one; with its health port: <host>:<port>/<health port> (default: 127.0.0.1:2525)',
    listOf(upstreamOf),
  );
  if (abilities.passesOnStarttls)
    add(
      "--starttls-edge <host:port>",
      'a listener with tls "starttls", for the STARTTLS port; again for each one (default: there is no such port)',
      listOf(upstreamOf),
    );
  if (name === "haproxy") {
    add(
      "--edge-dns <name:port>",
      "as --edge, for a name that stands for several edges in DNS: they may come and go without a reload; again for each name",
      listOf(nameOf),
    );
    add(
      "--starttls-edge-dns <name:port>",
      "as --starttls-edge, for such a name; again for each name",
      listOf(nameOf),
    );
    add("--edge-count <edges>", "how many edges such a name may come to stand for (default: 10)", count);
    add(
      "--name-server <host:port>",
      "whom to ask for these names (default: 127.0.0.11:53, Docker's own)",
      addressOf,
    );
  }
  if (abilities.migrates) {
    add(
      "--native-edge <host:port>",
      'a listener with tls "implicit", which sessions move over to; again for each one',
      listOf(upstreamOf),
    );
    add("--migrate-weight <percent>", "share of new TLS sessions for --native-edge (default: 10)", percent);
  }
  add(
    "--cert <file>",
    (abilities.separateKey
      ? "certificate with its chain, PEM"
      : "certificate, chain and key in one PEM file") +
      (name === "caddy" ? " (default: Caddy obtains one by itself)" : ""),
    path,
  );
  if (abilities.separateKey)
    add("--key <file>", "private key, PEM (default: privkey.pem beside --cert)", path);
  if (name === "haproxy")
    add(
      "--client-ca <file>",
      "ask clients for a certificate of these authorities, PEM; edges are told its name",
      path,
    );
  add("--listen <address>", "address to listen on (default: all, of IPv4 and IPv6)", ipAddress);
  add("--smtps-port <port>", "port with TLS from the first octet on", port, 465);
  add(
    "--starttls-port <port>",
    "port with STARTTLS; again for each one, such as 25 (default: 587)",
    listOf(port),
  );
  if (abilities.limitsPerIp)
    add("--max-per-ip <sessions>", "sessions one address may hold at once; 0: no limit", wholeNumber, 20);
  if (abilities.limitsRate)
    add(
      "--max-rate-per-ip <sessions>",
      "sessions one address may begin in a minute; 0: no limit",
      wholeNumber,
      120,
    );
  if (name === "haproxy")
    add("--stats-port <port>", "port of /metrics and /stats on 127.0.0.1; 0: none", portOrNone, 8404);
  if (name !== "haproxy")
    add(
      "--internal-port <port>",
      name === "caddy"
        ? "first of 2 ports on 127.0.0.1 on which Caddy speaks to itself"
        : "first of 4 ports on 127.0.0.1 on which nginx speaks to itself",
      port,
      10_025,
    );
  if (name === "caddy") addAcmeOptions(command);
  if (name.startsWith("nginx"))
    add("--access-log <file>", "log of sessions, such as /dev/stdout in a container", path);
  if (name === "nginx-mail") {
    add(
      "--max-message-bytes <octets>",
      "SIZE to announce: the edges' SMTP_MAX_MESSAGE_BYTES",
      wholeNumber,
      52_428_800,
    );
    command.option("--auth", "announce AUTH PLAIN and LOGIN; the edges judge the password");
  }
  add(
    "--unprivileged <folder>",
    name === "caddy"
      ? "for a Caddy that no root starts: folder of its socket and certificates"
      : "for a proxy that no root starts, in the foreground: folder of its socket, PID file and logs",
    path,
  );
  return command;
}

function addAcmeOptions(command: Command): void {
  command
    .option("--acme <url>", "ACME directory of the authority to ask (default: Let's Encrypt)", httpsUrl)
    .option("--acme-root <file>", "root certificate of that authority's server, PEM", path)
    .option("--http-port <port>", "where port 80 of the name leads to", port, 80)
    .option("--https-port <port>", "where port 443 of the name leads to", port, 443);
}

/** @throws CommandError for options that do not go together */
export function planOf(options: ProxyOptions): ProxyPlan {
  const nativeEdges = options.nativeEdge ?? [];
  if (options.migrateWeight !== undefined && nativeEdges.length === 0)
    throw new CommandError(
      `--migrate-weight ${options.migrateWeight} has nowhere to go: name an edge that ends TLS itself with --native-edge <host:port>`,
      2,
    );
  if (options.acme !== undefined && options.cert !== undefined)
    throw new CommandError(
      `--acme ${options.acme} asks for a certificate, and --cert ${options.cert} is one: give one of them`,
      2,
    );
  if (options.acmeRoot !== undefined && options.acme === undefined)
    throw new CommandError(
      `--acme-root ${options.acmeRoot} says whom to trust, and not whom to ask: give --acme <url> as well`,
      2,
    );
  const byName = [...(options.edgeDns ?? []), ...(options.starttlsEdgeDns ?? [])];
  for (const [option, value] of [
    ["--edge-count", options.edgeCount],
    ["--name-server", options.nameServer],
  ] as const)
    if (value !== undefined && byName.length === 0)
      throw new CommandError(
        `${option} is about names that stand for several edges, and there is none: name them with --edge-dns <name:port>`,
        2,
      );
  const several = (edges: Upstream[] = []) =>
    edges.map((edge) => ({ ...edge, count: options.edgeCount ?? 10 }));
  const edges = [...(options.edge ?? []), ...several(options.edgeDns)];
  const plan: ProxyPlan = {
    hostname: options.hostname,
    cert: options.cert,
    key: options.key,
    clientCa: options.clientCa,
    edges: edges.length > 0 ? edges : [localEdge],
    starttlsEdges: [...(options.starttlsEdge ?? []), ...several(options.starttlsEdgeDns)],
    nativeEdges,
    migrateWeight: options.migrateWeight ?? 10,
    listen: options.listen,
    smtpsPort: options.smtpsPort,
    starttlsPorts: options.starttlsPort ?? [587],
    maxPerIp: options.maxPerIp ?? 0,
    maxRatePerIp: options.maxRatePerIp ?? 0,
    statsPort: options.statsPort ?? 0,
    internalPort: options.internalPort ?? 0,
    httpPort: options.httpPort ?? 80,
    httpsPort: options.httpsPort ?? 443,
    acme: options.acme,
    acmeRoot: options.acmeRoot,
    maxMessageBytes: options.maxMessageBytes ?? 0,
    auth: options.auth ?? false,
    nameServer: options.nameServer ?? { host: "127.0.0.11", port: 53 },
    accessLog: options.accessLog,
    unprivileged: options.unprivileged,
    logsSessions: true,
  };
  if (plan.starttlsPorts.includes(plan.smtpsPort))
    throw new CommandError(
      `--starttls-port ${plan.smtpsPort} is --smtps-port as well: a session begins either with TLS or in the clear; give two ports`,
      2,
    );
  const without = everyEdge(plan).find(({ healthPort }) => healthPort === undefined);
  if (without && everyEdge(plan).some(({ healthPort }) => healthPort !== undefined))
    throw new CommandError(
      `the edge ${without.host}:${without.port} has no health port and others have: give all of them one, as <host>:<port>/<health port>, or none`,
      2,
    );
  return plan;
}
