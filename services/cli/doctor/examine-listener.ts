import { routeFor } from "@millrace/mail";
import { addressesOf, type Config, isListed, type Listener } from "@millrace/service";
import { ownEndpoint } from "./ask-edge.ts";
import { checkCertificate } from "./checks/certificate.ts";
import { checkPort } from "./checks/port.ts";
import { type Expectation, examineEndpoint } from "./examine-endpoint.ts";
import { type Finding, failure, type Section, skipped } from "./finding.ts";
import type { Wishes } from "./outside.ts";
import { converse, greeted } from "./smtp/dialogue.ts";
import { type Endpoint, shown } from "./smtp/endpoint.ts";

const start = "Start the edge: millrace up, or systemctl start millrace-edge@1; its log says why it ended.";

/**
 * One of our own listeners, beside what the configuration says.
 * @param selfMade the certificate that `millrace up` has made for it, in PEM
 */
export async function examineListener(
  config: Config,
  listener: Listener,
  wishes: Wishes & Pick<Endpoint, "selfMade">,
): Promise<Section> {
  const { name, tls, proxies, port } = listener;
  const behind = proxies ? `, behind ${proxies.join(", ")}` : "";
  const kind = `${name}, tls ${tls}${behind}`;
  if (port === 0)
    return {
      about: kind,
      findings: [
        skipped(
          "port",
          "port 0 is any free one",
          "Give it a port; until then the edge's log line `ready` has it.",
        ),
      ],
    };
  const endpoint = ownEndpoint(listener, wishes.serverName ?? config.hostname, wishes);
  const about = `${shown(endpoint)} (${kind})`;
  // Who connects to an address of this machine from this machine has that same address.
  if (proxies && !isListed(addressesOf(proxies), endpoint.address))
    return { about, findings: await fromOutsideOnly(endpoint, proxies) };
  const findings = await examineEndpoint(endpoint, expectationOf(config, listener));
  return { about, findings: [...findings, ...(await checkFurtherNames(listener, endpoint))] };
}

/** What is to be expected where a listener's sessions begin so. */
export function expectationOf({ settings, routes }: Config, { tls }: Pick<Listener, "tls">): Expectation {
  return {
    tls: tls === "proxy" ? "off" : tls,
    countsAsSecure: tls === "proxy",
    auth: settings.SMTP_ENABLE_AUTH,
    size: async () => ({ octets: settings.SMTP_MAX_MESSAGE_BYTES, from: "SMTP_MAX_MESSAGE_BYTES" }),
    taker(recipient) {
      const route = routeFor(routes, recipient);
      if (!route) return undefined;
      const targets = route.to.map((target) => Object.entries(target)[0]?.join(" ") ?? "");
      return { where: targets.join(", "), sendsOn: route.to.some((target) => "smtp" in target) };
    },
    start,
  };
}

async function fromOutsideOnly(endpoint: Endpoint, proxies: readonly string[]): Promise<Finding[]> {
  const only = `the listener takes its proxies alone (${proxies.join(", ")}), and ${endpoint.address} is none of them`;
  return [
    await checkPort(endpoint, start),
    skipped("greeting", only, "Examine it through its proxy: millrace doctor <host of the proxy>."),
  ];
}

/** The certificates for other names that clients ask for (SNI). */
async function checkFurtherNames({ names, tls }: Listener, endpoint: Endpoint): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { serverNames, cert } of names) {
    // A certificate for any label is good for this one.
    const [serverName] = serverNames.map((each) => each.replace(/^\*/, "any")) as [string];
    try {
      const of = { ...endpoint, serverName };
      const { session, tls: socket } =
        tls === "implicit" ? await greeted(of, true) : await converse(of, false);
      if (socket)
        findings.push(
          ...checkCertificate(socket, of).map((each) => ({ ...each, seen: `${cert}: ${each.seen}` })),
        );
      session.quit();
    } catch (error) {
      findings.push(
        failure(
          "certificate chain",
          `${cert} (${serverName}): ${(error as Error).message}`,
          "The edge's log says why.",
        ),
      );
    }
  }
  return findings;
}
