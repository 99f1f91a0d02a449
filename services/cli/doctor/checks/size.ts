import { type Finding, ok, skipped, warning } from "../finding.ts";
import type { Dialogue } from "../smtp/dialogue.ts";

/** The largest message an edge takes, and where that is said. */
export interface EdgeSize {
  octets: number;
  from: string;
}

/**
 * Whether everybody announces the same largest message.
 * @param edge what the edge itself says; a text when it could not be asked
 */
export function checkSize({ clear, secure }: Dialogue, edge: EdgeSize | string): Finding {
  const check = "size";
  const announced = (secure ?? clear)?.extensions.get("SIZE");
  const shown = announced === undefined ? "no SIZE is announced" : `SIZE ${announced}`;
  if (announced === undefined || !/^[1-9]\d*$/.test(announced))
    return warning(
      check,
      shown,
      'Announce the limit, so that clients need not send a whole message to learn of it (nginx mail: smtp_capabilities … "SIZE 52428800").',
    );
  const before = secure && clear?.extensions.get("SIZE");
  if (before && before !== announced)
    return warning(
      check,
      `${shown} in TLS, and SIZE ${before} in the clear`,
      "Two servers answer here, or a proxy has a list of its own: make them agree.",
    );
  if (typeof edge === "string") return skipped(check, `${shown}; ${edge}`);
  if (edge.octets !== Number(announced))
    return warning(
      check,
      `${shown}, but ${edge.octets} by ${edge.from}`,
      'Let both say the same: SMTP_MAX_MESSAGE_BYTES at the edge (and restart it), and at a proxy that answers EHLO itself its own list (nginx mail: smtp_capabilities "SIZE …"; millrace proxy nginx-mail --max-message-bytes).',
    );
  return ok(check, `${shown}, as by ${edge.from}`);
}
