import { type Config, ConfigError, loadConfig } from "@millrace/service";
import { askEdgeSize } from "./ask-edge.ts";
import { greetingClock } from "./checks/clock.ts";
import { checkDns } from "./checks/dns.ts";
import { examineEndpoint } from "./examine-endpoint.ts";
import { type Finding, failure, ok, type Section, warning } from "./finding.ts";
import { type Endpoint, type ExpectedTls, expectedTls, shown } from "./smtp/endpoint.ts";
import { SessionError, SmtpSession } from "./smtp/session.ts";
import { type Target, usualPorts } from "./target.ts";

/** How one wants it examined. */
export interface Wishes {
  /** Milliseconds for each step. */
  timeout: number;
  /** Undefined: by the port's number. */
  tls: ExpectedTls | undefined;
  serverName: string | undefined;
  authorities: readonly string[];
  /** Address of ours to connect from. */
  source: string | undefined;
}

/** Examines a host as one of its clients sees it. @param report told of each section as it is done */
export async function examineHost(
  { host, port }: Target,
  wishes: Wishes,
  report: (section: Section) => Promise<void>,
): Promise<void> {
  const { finding, addresses } = await checkDns(host, wishes.timeout);
  if (addresses.length === 0) return report({ about: host, findings: [finding] });
  const about = (number: number): Endpoint => ({
    ...{ host, address: addresses[0] as string, port: number, proxyHeader: undefined },
    ...{ serverName: wishes.serverName ?? host, authorities: wishes.authorities },
    ...{ selfMade: undefined, timeout: wishes.timeout, source: wishes.source },
  });
  const ports = port === undefined ? usualPorts : [port];
  const reached = await Promise.all(ports.map((number) => reach(about(number), addresses)));
  const open = reached.filter(({ at }) => at.length > 0);
  const findings = [finding, ...(port === undefined ? [portsOf(reached)] : []), ...partly(open, addresses)];
  await report({ about: host, findings });
  let asked: ReturnType<typeof askEdge> | undefined;
  const size = () => {
    asked ??= askEdge(wishes.timeout);
    return asked;
  };
  // With a port that was named, its being closed is what there is to say.
  for (const { endpoint, at } of port === undefined ? open : reached) {
    const here = { ...endpoint, address: at[0] ?? endpoint.address };
    const findings = await examineEndpoint(here, {
      tls: wishes.tls ?? expectedTls(endpoint.port),
      ...{ countsAsSecure: false, auth: undefined, taker: undefined, size },
      start:
        "Start what should (millrace up; systemctl start millrace-edge@1; systemctl start haproxy), or correct the port.",
    });
    const clock = greetingClock(findings);
    await report({ about: shown(endpoint), findings: clock ? [...findings, clock] : findings });
  }
}

interface Reached {
  endpoint: Endpoint;
  /** The addresses that take connections on this port. */
  at: string[];
  closed: string[];
}

async function reach(endpoint: Endpoint, addresses: string[]): Promise<Reached> {
  const tried = await Promise.all(
    addresses.map(async (address) => {
      try {
        (await SmtpSession.connect({ ...endpoint, address })).destroy();
        return undefined;
      } catch (error) {
        return error instanceof SessionError ? error.message : String(error);
      }
    }),
  );
  return {
    endpoint,
    at: addresses.filter((_, i) => tried[i] === undefined),
    closed: tried.flatMap((problem, i) => (problem === undefined ? [] : [`${addresses[i]}: ${problem}`])),
  };
}

function portsOf(reached: Reached[]): Finding {
  const open = reached.filter(({ at }) => at.length > 0).map(({ endpoint }) => endpoint.port);
  const shut = reached.filter(({ at }) => at.length === 0).map(({ endpoint }) => endpoint.port);
  const closed = shut.length > 0 ? `; closed: ${shut.join(", ")}` : "";
  if (open.length > 0) return ok("ports", `open: ${open.join(", ")}${closed}`);
  return failure(
    "ports",
    `no usual port is open (${[...new Set(reached.flatMap((each) => each.closed))].join("; ")})`,
    "Start the proxy or the edge, let its ports through the firewall (millrace firewall nftables), or name the port: millrace doctor host:port.",
  );
}

/** A client that takes the address on which nothing listens waits, or gives up. */
function partly(open: Reached[], addresses: string[]): Finding[] {
  if (addresses.length < 2) return [];
  const gaps = open.filter(({ closed }) => closed.length > 0);
  if (gaps.length === 0) return [ok("addresses", "each of them takes connections")];
  const seen = gaps.map(({ endpoint, closed }) => `port ${endpoint.port}: ${closed.join("; ")}`).join("; ");
  return [
    warning(
      "addresses",
      `not all of them take connections: ${seen}`,
      "Listen on IPv6 as well (HAProxy: bind :::465 v4v6; nginx: listen [::]:465 ssl), or take the address out of DNS.",
    ),
  ];
}

async function askEdge(timeout: number): ReturnType<typeof askEdgeSize> {
  let config: Config;
  try {
    config = await loadConfig();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return "the configuration in this folder is wrong: millrace config says why";
  }
  return askEdgeSize(config, timeout);
}
