const beginsWithStatus = /^[245]\.\d{1,3}\.\d{1,3} /;

/**
 * A reply as smtp-server's `send` is to be given it: the original knows one enhanced status for each reply code, and
 * adds it, whatever the text is. A text that brings its own keeps that.
 */
export function withStatus(
  code: number,
  data: string | string[] | null | undefined,
  context: string | false | undefined,
): { text: string | string[] | null | undefined; status: string | false | undefined } {
  // It passes the client's own word as the context, and would look it up.
  if (code === 500) return { text: data, status: undefined };
  if (typeof data === "string" && beginsWithStatus.test(data)) return { text: data, status: false };
  if (code === 421 && context !== false)
    return { text: `${statusOfClosing(String(data))} ${data}`, status: false };
  return { text: data, status: context };
}

/** Enhanced status of a 421 of smtp-server's own, by its text: the original gives them all that of a time-out. */
function statusOfClosing(text: string): string {
  if (text.startsWith("Timeout")) return "4.4.2";
  if (text.startsWith("Server shutting down")) return "4.3.2";
  if (text.includes("too long")) return "4.5.2";
  return "4.7.0";
}
