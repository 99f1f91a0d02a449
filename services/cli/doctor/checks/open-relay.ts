import { isIP } from "node:net";
import { type Finding, failure, ok, skipped, warning } from "../finding.ts";
import { converse } from "../smtp/dialogue.ts";
import type { Endpoint } from "../smtp/endpoint.ts";
import type { Reply, SmtpSession } from "../smtp/session.ts";

const check = "open relay";

/** A recipient that must be refused. */
interface Probe {
  what: string;
  from: string;
  to: string;
  /** Whether a server that takes it is sure to relay; else it may only have a strange mailbox. */
  proof: boolean;
}

/** Of a domain for examples (RFC 2606), which is nobody's to receive mail for. */
const foreign = "millrace-doctor@example.org";

/** @param own the server's own domain */
function probes(own: string): Probe[] {
  const from = "millrace-doctor@example.net";
  const [local, domain] = foreign.split("@") as [string, string];
  return [
    { what: "a foreign address", from, to: foreign, proof: true },
    { what: "a foreign address, from its own domain", from: `postmaster@${own}`, to: foreign, proof: true },
    { what: "a source route", from, to: `@${own}:${foreign}`, proof: true },
    { what: "user%domain", from, to: `${local}%${domain}@${own}`, proof: false },
    { what: "a quoted address", from, to: `"${foreign}"@${own}`, proof: false },
    { what: "domain!user", from, to: `${domain}!${local}@${own}`, proof: false },
    { what: "two @", from, to: `${foreign}@${own}`, proof: false },
  ];
}

/**
 * Whether strangers may send to strangers: MAIL and RCPT, then RSET; never DATA, so nothing can be sent.
 * @param taker tells where mail for an address goes, when the configuration is known: to a place of one's own, or on
 * @returns whether MAIL is taken at all, and what became of the recipients
 */
export async function checkRelay(
  endpoint: Endpoint,
  implicit: boolean,
  taker?: (recipient: string) => { where: string; sendsOn: boolean } | undefined,
): Promise<Finding[]> {
  let session: SmtpSession | undefined;
  try {
    const dialogue = await converse(endpoint, implicit);
    session = dialogue.session;
    return await tryAll(session, probes(ownDomain(dialogue.banner, endpoint)), taker);
  } catch (error) {
    return [skipped(check, `could not be tried to the end: ${(error as Error).message}`)];
  } finally {
    session?.quit();
  }
}

async function tryAll(
  session: SmtpSession,
  all: Probe[],
  taker: Parameters<typeof checkRelay>[2],
): Promise<Finding[]> {
  const taken: Probe[] = [];
  const refusals = new Set<string>();
  for (const probe of all) {
    const mail = await session.command(`MAIL FROM:<${probe.from}>`);
    if (mail.code >= 400 && mail.code < 500)
      return [notNow(mail), skipped(check, `MAIL gets ${words(mail)}`)];
    if (mail.code >= 500) {
      refusals.add(words(mail));
      continue;
    }
    const rcpt = await session.command(`RCPT TO:<${probe.to}>`);
    if (rcpt.code >= 400 && rcpt.code < 500)
      return [
        ok("intake", "MAIL is answered"),
        skipped(check, `${probe.what} could not be judged: ${words(rcpt)}`),
      ];
    // Not refused for being foreign, but for the way we speak: the next client may be luckier.
    if (rcpt.code >= 500 && rcpt.code <= 504 && probe.to === foreign)
      return [
        ok("intake", "MAIL is answered"),
        skipped(check, `${probe.what} could not be judged: ${words(rcpt)}`),
      ];
    if (rcpt.code < 300) taken.push(probe);
    else refusals.add(words(rcpt));
    await session.command("RSET");
  }
  return [ok("intake", "MAIL is answered"), verdict(all, taken, [...refusals], taker)];
}

function verdict(
  all: Probe[],
  taken: Probe[],
  refusals: string[],
  taker: Parameters<typeof checkRelay>[2],
): Finding {
  const kinds = taken.map(({ what }) => what).join(", ");
  const [worst] = taken.filter(({ proof }) => proof);
  const place = worst && taker?.(foreign);
  if (worst && place && !place.sendsOn)
    return warning(
      check,
      `every recipient is taken, of other domains too: the route that takes ${foreign} leads to ${place.where}`,
      "Nothing is passed on, but before strangers can connect name your own domains in routes.",
    );
  if (worst)
    return failure(
      check,
      `strangers may send to strangers: RCPT TO:<${worst.to}> is taken (${kinds})${place ? `; the route leads to ${place.where}` : ""}`,
      'Let routes take your own domains alone ("*@example.com", never "*" with an smtp target); who has authenticated may send anywhere through relay. A catch-all route into a mailbox looks the same from outside.',
    );
  // Kept by ourselves, they are mailboxes like any others.
  const strange = taken.filter(({ to }) => taker?.(to)?.sendsOn !== false);
  if (strange.length > 0)
    return warning(
      check,
      `strange recipients of its own domain are taken: ${strange.map(({ what }) => what).join(", ")}`,
      "Do not let that route lead to a server that reads a foreign address out of them.",
    );
  const kept = taken.length > 0 ? `; ${kinds}: mailboxes of its own` : "";
  return ok(check, `${all.length - taken.length} ways to foreign recipients refused (${refusals[0]})${kept}`);
}

function notNow(reply: Reply): Finding {
  const cure =
    reply.code === 452
      ? "Something is full: millrace status says what, and millrace doctor on that machine how to go on."
      : "Its Redis is away, or it asks somebody who does not answer: its log and /readyz say what.";
  return failure("intake", `no mail is taken now: ${words(reply)}`, cure);
}

function words({ code, lines }: Reply): string {
  return `${code} ${lines.join(" ")}`;
}

function ownDomain({ lines }: Reply, endpoint: Endpoint): string {
  const said = lines[0]?.split(" ")[0] ?? "";
  if (/^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$/.test(said)) return said;
  const name = endpoint.serverName ?? endpoint.host;
  return isIP(name) || !name.includes(".") ? `[${endpoint.address}]` : name;
}
