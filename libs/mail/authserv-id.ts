/**
 * The authserv-id of an Authentication-Results field's value (RFC 8601 §2.2): what stands first, behind comments, a
 * token or a quoted string, in small letters and without a dot at its end, as ids are compared.
 * @returns undefined when there is none that can be read with certainty
 */
export function authservIdOf(value: string): string | undefined {
  const at = behindComments(value);
  if (at === undefined) return undefined;
  const rest = value.slice(at);
  const quoted = /^"((?:[^"\\]|\\.)*)"/s.exec(rest)?.[1];
  const id = quoted === undefined ? /^[^\s;("]+/.exec(rest)?.[0] : quoted.replace(/\\(.)/gs, "$1");
  // Encoded words have no place here (RFC 2047 §5), and some reader might decode them all the same.
  return id === undefined || id.includes("=?") ? undefined : comparableId(id);
}

/** An authserv-id in the form in which ids are compared. */
export function comparableId(id: string): string {
  return id.trim().toLowerCase().replace(/\.+$/, "");
}

/** Where the first thing begins that is neither white space nor a comment; undefined when a comment does not end. */
function behindComments(value: string): number | undefined {
  let depth = 0;
  for (let at = 0; at < value.length; at++) {
    const char = value[at] as string;
    if (char === "(") depth++;
    else if (depth > 0 && char === ")") depth--;
    else if (depth > 0 && char === "\\") at++;
    else if (depth === 0 && !/\s/.test(char)) return at;
  }
  return depth === 0 ? value.length : undefined;
}
