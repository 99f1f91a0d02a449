import { hostname } from "node:os";
import type { SecureVersion, TLSSocket } from "node:tls";
import type { Endpoint } from "./endpoint.ts";
import { type Reply, SessionError, SmtpSession } from "./session.ts";
import { trusting } from "./tls-client.ts";

/** What a server says to EHLO. */
export interface Ehlo {
  /** Its first line. */
  greeting: string;
  /** Its extensions, in upper case, with what stands behind each. */
  extensions: Map<string, string>;
}

/** Milliseconds that the steps of a session took. */
export interface Timing {
  connect: number;
  handshake?: number;
  banner: number;
  ehlo: number;
}

/** A session that is as private as it gets, and what was said on the way there. */
export interface Dialogue {
  session: SmtpSession;
  banner: Reply;
  /** In the clear; undefined with implicit TLS. */
  clear: Ehlo | undefined;
  /** In TLS; undefined where there is none. */
  secure: Ehlo | undefined;
  /** The socket of TLS, with the certificates. */
  tls: TLSSocket | undefined;
  /** What the server said to STARTTLS when it was not 220, or how the handshake after it failed. */
  starttlsProblem: string | undefined;
  timing: Timing;
}

/** A server that answers commands nobody sent: something before us has spoken to it as well. */
export class OutOfStep extends Error {
  override name = "OutOfStep";
}

/** A server that greets with anything but 220: there is no session. */
export class Unwelcome extends Error {
  override name = "Unwelcome";
  readonly reply: Reply;

  constructor(reply: Reply) {
    super(`${reply.code} ${reply.lines.join(" ")}`);
    this.reply = reply;
  }
}

/** Milliseconds for a reply that should not be there to arrive. */
const straggling = 500;

/**
 * Connects and goes as far as EHLO, in TLS where there is any.
 * @throws SessionError, Unwelcome, OutOfStep; the session is then closed
 */
export async function converse(
  endpoint: Endpoint,
  implicit: boolean,
  opened?: (session: SmtpSession) => void,
): Promise<Dialogue> {
  // Before the clock runs.
  trusting(endpoint.authorities);
  const { session, banner, tls: first, timing } = await greeted(endpoint, implicit);
  opened?.(session);
  try {
    if (banner.code !== 220) throw new Unwelcome(banner);
    let at = performance.now();
    const plain = await ehlo(session);
    timing.ehlo = performance.now() - at;
    const dialogue: Dialogue = {
      ...{ session, banner, timing, tls: first, starttlsProblem: undefined },
      ...{ clear: implicit ? undefined : plain, secure: implicit ? plain : undefined },
    };
    if (implicit || !plain.extensions.has("STARTTLS")) return dialogue;
    const { code, lines } = await session.command("STARTTLS");
    if (code !== 220) return { ...dialogue, starttlsProblem: `${code} ${lines.join(" ")}` };
    at = performance.now();
    try {
      dialogue.tls = await session.secure();
    } catch (error) {
      return { ...dialogue, starttlsProblem: (error as Error).message };
    }
    timing.handshake = performance.now() - at;
    dialogue.secure = await ehlo(session);
    return dialogue;
  } catch (error) {
    session.destroy();
    if (error instanceof SessionError) error.greeted = true;
    throw error;
  }
}

/** Up to the greeting. @throws SessionError */
export async function greeted(endpoint: Endpoint, implicit: boolean) {
  const started = performance.now();
  const session = await SmtpSession.connect(endpoint);
  try {
    const timing: Timing = { connect: performance.now() - started, banner: 0, ehlo: 0 };
    let at = performance.now();
    const tls = implicit ? await session.secure() : undefined;
    if (implicit) timing.handshake = performance.now() - at;
    at = performance.now();
    const banner = await session.reply();
    timing.banner = performance.now() - at;
    return { session, banner, tls, timing };
  } catch (error) {
    session.destroy();
    throw error;
  }
}

/** A handshake with one version of TLS and no other. @throws SessionError whose trouble is `handshake` or `closed` when it is refused */
export async function handshakeWith(
  version: SecureVersion,
  endpoint: Endpoint,
  implicit: boolean,
): Promise<void> {
  const session = await SmtpSession.connect(endpoint);
  try {
    if (!implicit) {
      for (const [line, wanted] of [
        ["", 220],
        [`EHLO ${ourName}`, 250],
        ["STARTTLS", 220],
      ] as const) {
        const { code, lines } = await (line ? session.command(line) : session.reply()).catch(
          (error: Error) => {
            throw new SessionError("silent", error.message);
          },
        );
        if (code !== wanted) throw new SessionError("silent", `${code} ${lines[0]}`);
      }
    }
    await session.secure(version);
  } finally {
    session.destroy();
  }
}

/** No address: a server that repeats it would seem to know ours. */
const ourName = /^[A-Za-z0-9][A-Za-z0-9.-]*$/.test(hostname()) ? hostname() : "localhost";

async function ehlo(session: SmtpSession): Promise<Ehlo> {
  const { code, lines } = await session.command(`EHLO ${ourName}`);
  if (code >= 500) {
    const next = await session.reply(straggling).catch(() => undefined);
    if (next)
      throw new OutOfStep(
        `"${code} ${lines[0]}" came before the reply to EHLO, "${next.code} ${next.lines[0]}"`,
      );
  }
  if (code !== 250) throw new SessionError("nonsense", `EHLO was answered with ${code} ${lines.join(" ")}`);
  const [greeting = "", ...rest] = lines;
  const extensions = rest.map((line) => {
    const [name = "", ...words] = line.trim().split(/[ =]/);
    return [name.toUpperCase(), words.join(" ")] as const;
  });
  return { greeting, extensions: new Map(extensions) };
}
