import { mkdirSync, rmSync, symlinkSync, unwatchFile, watchFile, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { type Config, type LocalProxy, proxiedListeners, StartError } from "@millrace/service";
import type { ProxyPlan, Upstream } from "../proxy/plan.ts";
import { proxies } from "../proxy/proxy.ts";
import { selfMadeCertificate } from "./self-made-certificate.ts";
import type { ProgramSpec, Supervised } from "./supervisor.ts";
import { systemProgram } from "./system-program.ts";

/** A proxy that has all it needs to be started. */
export interface PreparedProxy {
  spec: ProgramSpec;
  /** Ends it once its sessions have ended; from then on it takes no new ones. */
  endSignal: NodeJS.Signals;
  /** Has it read a certificate of one's own again whenever its files change. Returns a function that stops that. */
  watchCertificate(running: Supervised): () => void;
}

interface ProxyProgram {
  words: (file: string) => string[];
  end: NodeJS.Signals;
  reload: NodeJS.Signals;
}

/** How each of them is run in the foreground, and told things. */
const programs: Record<LocalProxy["kind"], ProxyProgram> = {
  haproxy: {
    // With a master process, which starts a new worker at a reload; the one before goes on with its sessions.
    words: (file) => ["-W", "-f", file],
    end: "SIGUSR1",
    reload: "SIGUSR2",
  },
  nginx: {
    words: (file) => ["-e", "stderr", "-c", file],
    end: "SIGQUIT",
    reload: "SIGHUP",
  },
};

/** Milliseconds between two looks at the files of a certificate. */
const lookEvery = 2_000;
/** A unix socket's path has at most 107 octets (unix(7)), and HAProxy binds it under a longer name first. */
const longestSocketPath = 107 - ".4194304.tmp".length;

/**
 * Finds the proxy's program, or installs it, makes its certificate and writes its configuration.
 *
 * @param edges how many there are
 * @throws StartError that says what to install or to correct
 */
export async function prepareProxy(
  config: Config,
  proxy: LocalProxy,
  edges: number,
  say: (text: string) => void,
): Promise<PreparedProxy> {
  const { kind, folder, host, certificate } = proxy;
  const { words, end, reload } = programs[kind];
  checkFolder(config.paths.data, folder, kind);
  const program = systemProgram(kind, [kind], say, "leave --proxy out");
  const ports = [
    ["UP_PROXY_SMTPS_PORT", proxy.smtpsPort],
    ["UP_PROXY_STARTTLS_PORT", proxy.starttlsPort],
  ] as const;
  for (const [setting, port] of ports) await checkPort(setting, port, host);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (proxy.selfMade) selfMadeCertificate(certificate.cert, certificate.key, config.hostname, say);
  const { fileName, file } = proxies[kind];
  const path = join(folder, fileName);
  writeFileSync(path, file(planOf(config, proxy, edges)));
  const to = host === "0.0.0.0" || host === "::" ? "localhost" : host;
  return {
    spec: {
      name: kind,
      program,
      words: words(path),
      // Else it takes a core from an edge for each piece of a session: on few cores a good part of what it costs.
      batch: true,
      isReady: async () => (await Promise.all(ports.map(([, port]) => accepts(to, port)))).every(Boolean),
    },
    endSignal: end,
    watchCertificate(running) {
      if (proxy.selfMade) return () => {};
      const files = new Set([certificate.cert, certificate.key]);
      const changed = () => {
        say(`the certificate has changed: ${kind} reads it again`);
        running.signal(reload);
      };
      for (const each of files) watchFile(each, { interval: lookEvery, persistent: false }, changed);
      return () => {
        for (const each of files) unwatchFile(each, changed);
      };
    },
  };
}

function planOf(config: Config, proxy: LocalProxy, edges: number): ProxyPlan {
  const { health } = config;
  // A proxy asks for /readyz at the address it sends mail to.
  const asked = health && health.port !== 0 && ["127.0.0.1", "0.0.0.0", "localhost"].includes(health.host);
  const upstreams = (listener: string): Upstream[] => {
    const first = config.listeners.find(({ name }) => name === listener)?.port as number;
    return Array.from({ length: edges }, (_, i) => ({
      host: "127.0.0.1",
      port: first + i,
      healthPort: asked ? health.port + i : undefined,
    }));
  };
  return {
    hostname: config.hostname,
    ...certificateOf(proxy),
    clientCa: undefined,
    edges: upstreams(proxiedListeners.smtps),
    starttlsEdges: upstreams(proxiedListeners.starttls),
    ...{ nativeEdges: [], migrateWeight: 0 },
    listen: proxy.host,
    smtpsPort: proxy.smtpsPort,
    starttlsPorts: [proxy.starttlsPort],
    // The edges see the client's address, and have limits of their own.
    ...{ maxPerIp: 0, maxRatePerIp: 0 },
    ...{ statsPort: 0, internalPort: 0, maxMessageBytes: 0, auth: false },
    // Edges have addresses here: nobody is asked for a name.
    ...{ nameServer: { host: "127.0.0.1", port: 53 }, accessLog: undefined },
    // Caddy's.
    ...{ httpPort: 80, httpsPort: 443, acme: undefined, acmeRoot: undefined },
    unprivileged: proxy.folder,
    // Each session is in the edges' log.
    logsSessions: false,
  };
}

/** One's own under names that need no quoting, and that HAProxy finds the key by. */
function certificateOf({ folder, certificate: { cert, key }, selfMade }: LocalProxy) {
  if (selfMade) return { cert, key };
  const links = { cert: join(folder, "own.pem"), key: join(folder, "own.pem.key") };
  for (const link of Object.values(links)) rmSync(link, { force: true });
  symlinkSync(cert, links.cert);
  if (key === cert) return { cert: links.cert, key: links.cert };
  symlinkSync(key, links.key);
  return links;
}

function checkFolder(data: string, folder: string, kind: string): void {
  if (!/^[\w./+@:-]+$/.test(folder))
    throw new StartError(
      `MILLRACE_DATA_DIR=${data} is a path that ${kind}'s configuration cannot hold: choose one of letters, digits and . _ - + @ : / alone`,
    );
  if (Buffer.byteLength(join(folder, "haproxy.sock")) > longestSocketPath)
    throw new StartError(
      `MILLRACE_DATA_DIR=${data} is too long a path for ${kind}'s unix socket: choose a shorter one`,
    );
}

/** HAProxy would share a port with another HAProxy, and each would get some of the sessions. */
async function checkPort(setting: string, port: number, host: string): Promise<void> {
  const server = createServer();
  const error = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
    server.once("error", resolve).listen(port, host, () => server.close(() => resolve(undefined)));
  });
  if (!error) return;
  const reasons: Record<string, string> = {
    EADDRINUSE: `${setting}=${port} is in use on ${host}: stop what listens there, or set ${setting} to a free one`,
    EACCES: `${setting}=${port} is for root only: set ${setting} to one from 1024`,
    EADDRNOTAVAIL: `UP_PROXY_HOST=${host} is no address of this machine: set it to one that is, or to 0.0.0.0`,
  };
  const cannot = `UP_PROXY_HOST=${host} ${setting}=${port}: nothing can listen there (${error.message}); choose others`;
  throw new StartError(reasons[error.code ?? ""] ?? cannot);
}

function accepts(host: string, port: number): Promise<boolean> {
  const socket = connect({ host, port });
  return new Promise((resolve) => {
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
  }).then((open) => {
    socket.destroy();
    return open as boolean;
  });
}
