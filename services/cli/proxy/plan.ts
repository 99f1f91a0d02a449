import { isIP } from "node:net";

/** What a proxy before the edges is to do; each proxy's file is made from one of these. */
export interface ProxyPlan {
  /** Name that clients connect to, in lower case. */
  hostname: string;
  /** Absolute path; undefined: where this proxy has it by custom. HAProxy's holds the key as well. */
  cert: string | undefined;
  /** Absolute path; undefined: `privkey.pem` beside the certificate. */
  key: string | undefined;
  /** Authorities whose client certificates HAProxy asks for and verifies; undefined: it asks for none. */
  clientCa: string | undefined;
  /** Listeners with tls "proxy": TLS ends at the proxy. */
  edges: Upstream[];
  /** Listeners with tls "starttls", to which STARTTLS is passed on; none: no such port. */
  starttlsEdges: Upstream[];
  /** Listeners with tls "implicit", which take their share of the TLS port as it comes. */
  nativeEdges: Upstream[];
  /** Share of new sessions on the TLS port that goes to `nativeEdges`, in percent. */
  migrateWeight: number;
  /** Address to listen on; undefined: all of them, of IPv4 and IPv6. */
  listen: string | undefined;
  smtpsPort: number;
  starttlsPorts: number[];
  /** Sessions one address may hold at once, on all ports together; 0: no limit. */
  maxPerIp: number;
  /** Sessions one address may begin in a minute, refused ones too (HAProxy); 0: no limit. */
  maxRatePerIp: number;
  /** HAProxy's port for /metrics and /stats on 127.0.0.1; 0: none. */
  statsPort: number;
  /** nginx and Caddy: first of the ports on 127.0.0.1 on which it speaks to itself. */
  internalPort: number;
  /** SIZE that nginx announces in the edges' stead (nginx-mail). */
  maxMessageBytes: number;
  /** Whether nginx announces AUTH in the edges' stead (nginx-mail). */
  auth: boolean;
  /** Ports at which an ACME authority asks Caddy whether the name is its own. */
  httpPort: number;
  httpsPort: number;
  /** Directory of the ACME authority that Caddy asks; undefined: Caddy's own choice. */
  acme: string | undefined;
  /** Root certificate of that authority's own server, PEM; undefined: one that this machine trusts. */
  acmeRoot: string | undefined;
  /** HAProxy: name server that is asked again and again for edges with a `count`. */
  nameServer: Address;
  /** nginx: where its log of sessions goes; undefined: where its other files are. */
  accessLog: string | undefined;
  /** For a proxy that no root starts, in the foreground: folder of its sockets, PID file and logs. */
  unprivileged: string | undefined;
  /** Whether each session leaves a line. */
  logsSessions: boolean;
}

export interface Address {
  /** IPv6 addresses without their brackets. */
  host: string;
  port: number;
}

export interface Upstream extends Address {
  /** Where the edge answers /readyz over HTTP, if that was said. */
  healthPort: number | undefined;
  /** Its name stands for up to so many edges, which come and go; undefined: it is one edge (HAProxy). */
  count?: number;
}

/** As every one of these files writes it: IPv6 addresses in brackets. */
export function address(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Whether it is a name that DNS knows something about, which may change. */
export function isName(host: string): boolean {
  return isIP(host) === 0 && host !== "localhost";
}

/** Lines of a part of a file that is there under a condition alone. */
export function when(condition: boolean, ...lines: string[]): string[] {
  return condition ? lines : [];
}

/** Every edge that is spoken of, for what must hold for all. */
export function everyEdge({ edges, starttlsEdges, nativeEdges }: ProxyPlan): Upstream[] {
  return [...edges, ...starttlsEdges, ...nativeEdges];
}
