import { checkAuth } from "./checks/auth.ts";
import { checkCertificate } from "./checks/certificate.ts";
import { checkClientAddress } from "./checks/client-address.ts";
import { judgeBanner, judgeBroken, judgeOutOfStep, whyNoGreeting } from "./checks/greeting.ts";
import { checkLatency } from "./checks/latency.ts";
import { checkRelay } from "./checks/open-relay.ts";
import { checkPort } from "./checks/port.ts";
import { checkSize, type EdgeSize } from "./checks/size.ts";
import { checkTls } from "./checks/tls.ts";
import { checkTlsVersions } from "./checks/tls-versions.ts";
import type { Finding } from "./finding.ts";
import { converse, type Dialogue, OutOfStep, Unwelcome } from "./smtp/dialogue.ts";
import type { Endpoint, ExpectedTls } from "./smtp/endpoint.ts";
import { SessionError } from "./smtp/session.ts";

/** What is known of an endpoint before it is asked. */
export interface Expectation {
  tls: ExpectedTls;
  /** Whether its sessions count as secure without TLS of its own: a proxy ends it. */
  countsAsSecure: boolean;
  /** Whether AUTH is to be offered in secure sessions; undefined when nobody knows. */
  auth: boolean | undefined;
  /** What the edge takes at most; a text that says why nobody knows. Asked when all else went well. */
  size: () => Promise<EdgeSize | string>;
  /** Where mail for an address goes; undefined when nobody knows. */
  taker: Parameters<typeof checkRelay>[2];
  /** What starts a server there, as the cure for a port that is closed. */
  start: string;
}

/** Everything about one port, in the order in which a client comes upon it; what stands in the way of the rest ends it. */
export async function examineEndpoint(endpoint: Endpoint, expected: Expectation): Promise<Finding[]> {
  const port = await checkPort(endpoint, expected.start);
  if (port.status === "failure") return [port];
  let implicit = expected.tls === "implicit";
  let dialogue: Dialogue;
  try {
    dialogue = await converse(endpoint, implicit);
  } catch (error) {
    if (error instanceof Unwelcome) return [port, judgeBanner(error.reply)];
    if (error instanceof OutOfStep) return [port, judgeOutOfStep(error)];
    if (!(error instanceof SessionError)) throw error;
    if (error.greeted) return [port, judgeBroken(error)];
    const why = await whyNoGreeting(endpoint, implicit, error);
    // A port that is not known for the one kind may be of the other.
    const other = why.implicit && expected.tls === "any";
    const second = other ? await converse(endpoint, true).catch(() => undefined) : undefined;
    if (!second) return [port, why.finding];
    implicit = true;
    dialogue = second;
  }
  const { tls } = dialogue;
  // As long as the socket lives: it forgets the certificates it has seen.
  const shown = [checkTls(dialogue, expected.tls), ...(tls ? checkCertificate(tls, endpoint) : [])];
  dialogue.session.quit();
  const relay = await checkRelay(endpoint, implicit, expected.taker);
  return [
    port,
    judgeBanner(dialogue.banner),
    ...shown,
    ...(tls ? [await checkTlsVersions(endpoint, implicit)] : []),
    await checkAuth(dialogue, endpoint, { countsAsSecure: expected.countsAsSecure, wanted: expected.auth }),
    checkSize(dialogue, await expected.size()),
    await checkClientAddress(endpoint, implicit),
    ...relay,
    checkLatency(dialogue.timing),
  ];
}
