import { readFileSync } from "node:fs";
import type { Config, LocalProxy } from "@millrace/service";
import { ownEndpoint } from "./ask-edge.ts";
import { examineEndpoint } from "./examine-endpoint.ts";
import { expectationOf } from "./examine-listener.ts";
import type { Section } from "./finding.ts";
import type { Wishes } from "./outside.ts";
import { shown } from "./smtp/endpoint.ts";

/** The public ports of the proxy that `millrace up` runs, as its clients come to them. */
export async function examineProxy(
  proxy: LocalProxy,
  { runs, wanted }: { runs: Config; wanted: Config },
  wishes: Wishes,
  report: (section: Section) => Promise<void>,
): Promise<void> {
  const { kind, host, smtpsPort, starttlsPort } = proxy;
  const selfMade = selfMadeOf(runs);
  const ports = [
    [smtpsPort, "implicit"],
    [starttlsPort, "starttls"],
  ] as const;
  for (const [port, tls] of ports) {
    const at = { host, port, proxies: undefined };
    const endpoint = ownEndpoint(at, wishes.serverName ?? wanted.hostname, { ...wishes, selfMade });
    const findings = await examineEndpoint(endpoint, {
      ...expectationOf(wanted, { tls }),
      start: `millrace up --proxy ${kind} runs it, starts it again by itself, and its log says why it ended.`,
    });
    await report({ about: `${shown(endpoint)} (${kind}, tls ${tls})`, findings });
  }
}

/** The certificate that `up` has made, in PEM; undefined when there is none, or it may not be read by this user. */
export function selfMadeOf({ proxy }: Pick<Config, "proxy">): string | undefined {
  if (!proxy?.selfMade) return undefined;
  try {
    return readFileSync(proxy.certificate.cert, "utf8");
  } catch {
    return undefined;
  }
}
