import { type Finding, failure, ok } from "../finding.ts";
import { greeted, type OutOfStep } from "../smtp/dialogue.ts";
import { type Endpoint, shown } from "../smtp/endpoint.ts";
import { unknownHeader } from "../smtp/proxy-header.ts";
import { type Reply, SessionError, SmtpSession } from "../smtp/session.ts";

const check = "greeting";

const unwantedHeader =
  "A proxy sends a PROXY header to a listener that wants none: name the proxy in the listener's proxyProtocol.from (SMTP_PROXY_PROTOCOL_FROM), or take the header away at the proxy (HAProxy: send-proxy-v2; nginx: proxy_protocol on).";

const missingHeader =
  "Have the proxy send one (HAProxy: send-proxy-v2 on the server line, and in its check; nginx: proxy_protocol on), or take proxyProtocol.from (SMTP_PROXY_PROTOCOL_FROM) from the listener if clients connect to it directly.";

/** What the server's first words say of it. */
export function judgeBanner({ code, lines }: Reply): Finding {
  const seen = `${code} ${lines.join(" / ")}`;
  if (code === 220) return ok(check, seen);
  if (/too soon|too early|talk|synchron/i.test(seen))
    return failure(check, `${seen}; we had said nothing, so something before it has`, unwantedHeader);
  if (code === 421)
    return failure(
      check,
      seen,
      "It takes no sessions now: too many connections (SMTP_MAX_CLIENTS, limits of an address), or it is stopping. Its log says which.",
    );
  return failure(check, seen, "It does not serve this address. Its log says why.");
}

export function judgeOutOfStep({ message }: OutOfStep): Finding {
  return failure(check, `${message}: it has read a line that we did not send`, unwantedHeader);
}

/** One that greeted, and then went silent or away. */
export function judgeBroken({ message }: SessionError): Finding {
  return failure(
    check,
    `it greeted, and then: ${message}`,
    "The server, or what a proxy has put in front of it, hangs or is overloaded: see its log, its processor and /metrics.",
  );
}

interface Attempt {
  tls: boolean;
  header: "none" | "before" | "inside";
  finding: () => Finding;
}

/**
 * Why a session did not get as far as its greeting: tries all at once the ways that would have worked.
 * @returns the reason, and whether the endpoint's TLS is implicit after all
 */
export async function whyNoGreeting(
  endpoint: Endpoint,
  implicit: boolean,
  problem: SessionError,
): Promise<{ finding: Finding; implicit: boolean }> {
  const asked = problem.inHandshake ? "a TLS handshake" : "a greeting";
  const seen = `connected to ${shown(endpoint)} and waited for ${asked}: ${problem.message}`;
  const mismatch = (where: string) => () =>
    failure(
      check,
      `${seen}. With a PROXY header ${where} it answers at once: it waits for one`,
      missingHeader,
    );
  const attempts: Attempt[] = [
    {
      tls: !implicit,
      header: "none",
      finding: () =>
        implicit
          ? failure(
              check,
              `${seen}. It greets in the clear: this port speaks SMTP without TLS from the first octet`,
              "Implicit TLS is for 465 (RFC 8314): set tls: implicit with cert and key on the listener, or end TLS at the proxy (`bind … ssl`, `listen … ssl`). For a STARTTLS port: --tls starttls.",
            )
          : failure(
              check,
              `${seen}. It answers a TLS handshake: this port speaks TLS from the first octet`,
              "STARTTLS ports begin in the clear: never `ssl` on 587 or 25 at the proxy (`listen 587 ssl`, `bind :587 ssl`); use tls: starttls. For an implicit TLS port: --tls implicit.",
            ),
    },
    { tls: implicit, header: "before", finding: mismatch("before all else") },
    { tls: true, header: "inside", finding: mismatch("inside TLS") },
    { tls: !implicit, header: "before", finding: mismatch("before all else (and TLS the other way round)") },
  ];
  const working = attempts.map((attempt) => works(endpoint, attempt));
  // In their order, and none is waited for longer than it takes to know.
  for (const [i, attempt] of attempts.entries())
    if (await working[i]) return { finding: attempt.finding(), implicit: i === 0 && !implicit };
  return { finding: withoutReason(seen, problem), implicit: false };
}

function withoutReason(seen: string, { trouble }: SessionError): Finding {
  if (trouble === "silent")
    return failure(
      check,
      `${seen}. A PROXY header, or TLS the other way round, makes no difference`,
      "What is behind this port hangs, or a proxy cannot reach it: ask the edge itself (millrace doctor on its machine, /readyz on its health port), see whether its process stands still (ps -o stat), see in HAProxy's log and stats which edge is DOWN, and let the proxy check its edges (millrace proxy haproxy) and give up sooner (HAProxy: timeout connect; nginx: proxy_connect_timeout).",
    );
  if (trouble === "closed")
    return failure(
      check,
      seen,
      "Behind a proxy: no edge is up for it (HAProxy's log and stats: DOWN, also where its checks send no PROXY header and the listener wants one; nginx's error log: connect() failed), or the edge does not know the proxy's address (its log: PROXY header refused; proxyProtocol.from), or this address has too many connections. Directly: the listener takes its proxies alone.",
    );
  if (trouble === "handshake")
    return failure(
      check,
      seen,
      "Certificate, key or TLS versions of the listener do not work: its log says why.",
    );
  return failure(check, seen, "Another program listens there: see which with ss -ltnp.");
}

async function works(endpoint: Endpoint, { tls, header }: Attempt): Promise<boolean> {
  const around = { ...endpoint, proxyHeader: header === "before" ? unknownHeader : endpoint.proxyHeader };
  let session: SmtpSession | undefined;
  try {
    if (header === "inside") {
      session = await SmtpSession.connect(endpoint);
      await session.secure();
      session.write(unknownHeader);
      return (await session.reply()).code === 220;
    }
    if (header === "none" && tls) {
      session = await SmtpSession.connect(around);
      await session.secure();
      return true;
    }
    const { session: open, banner } = await greeted(around, tls);
    session = open;
    return banner.code === 220;
  } catch (error) {
    if (error instanceof SessionError) return false;
    throw error;
  } finally {
    session?.destroy();
  }
}
