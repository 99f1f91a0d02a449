import { oneLine } from "../transport.ts";

/** A server's answer to one command (RFC 5321 §4.2). */
export interface Reply {
  code: number;
  /** The text of each line, without code and separator. */
  lines: string[];
}

/** The whole on one line, the code first: `550 5.1.1 no such user`. */
export function replyText({ code, lines }: Reply): string {
  const status = statusPattern.exec(lines[0] ?? "")?.[1];
  // Every line repeats the status (RFC 2034 §4); once is enough to read.
  const text = lines.map((line, index) =>
    index > 0 && status && line.startsWith(`${status} `) ? line.slice(status.length + 1) : line,
  );
  return oneLine(`${code} ${text.join(" ")}`);
}

/** Enhanced status code (RFC 2034), when there is one and its class agrees with the code. */
export function replyStatus({ code, lines }: Reply): string | undefined {
  const status = statusPattern.exec(lines[0] ?? "")?.[1];
  return status?.[0] === String(code)[0] ? status : undefined;
}

const statusPattern = /^([245]\.\d{1,3}\.\d{1,3})(?: |$)/;

/** What a server sends that is no reply. */
export class MalformedReply extends Error {
  override name = "MalformedReply";
}

/** Octets one reply may have: far more than any server sends, so that none can fill our memory. */
const maxReplyOctets = 65_536;

/** Cuts what a server sends into replies. */
export class ReplyReader {
  private rest = "";
  private lines: string[] = [];
  private octets = 0;

  /**
   * Takes octets in, gives out the replies they complete.
   * @throws MalformedReply when this is not SMTP, or a reply without end
   */
  push(chunk: Buffer): Reply[] {
    const replies: Reply[] = [];
    this.octets += chunk.length;
    // One character an octet, so that a chunk may end within a character of the text.
    this.rest += chunk.toString("latin1");
    let start = 0;
    for (let end = this.rest.indexOf("\n"); end >= 0; end = this.rest.indexOf("\n", start)) {
      const line = this.rest.slice(start, this.rest[end - 1] === "\r" ? end - 1 : end);
      start = end + 1;
      const match = /^([2-5]\d\d)(?:([ -])(.*))?$/s.exec(line);
      if (!match) throw new MalformedReply(`the server sent what is no SMTP reply: ${oneLine(line)}`);
      this.lines.push(decoded(match[3] ?? ""));
      if (match[2] === "-") continue;
      replies.push({ code: Number(match[1]), lines: this.lines });
      this.lines = [];
      this.octets = this.rest.length - start;
    }
    this.rest = this.rest.slice(start);
    if (this.octets > maxReplyOctets)
      throw new MalformedReply(`the server sent a reply of more than ${maxReplyOctets} octets`);
    return replies;
  }

  /** Whether there is something that is not a whole reply yet. */
  get pending(): boolean {
    return this.rest.length > 0 || this.lines.length > 0;
  }
}

/** Replies have no charset (RFC 5321 §4.2.1) and are UTF-8 in practice, now and then Latin-1. */
function decoded(line: string): string {
  if (!/[\x80-\xff]/.test(line)) return line;
  const utf8 = Buffer.from(line, "latin1").toString("utf8");
  return utf8.includes("\uFFFD") ? line : utf8;
}
