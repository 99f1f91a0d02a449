import { charsetIsKnown } from "./charset.ts";
import type { Defects } from "./defects.ts";
import type { Part } from "./part.ts";

/** RFC 2045 §5.1: two tokens. */
const mediaType = /^[!#$%&'*+.^_`{|}~0-9a-z-]+\/[!#$%&'*+.^_`{|}~0-9a-z-]+$/i;
const encodings = new Set(["", "7bit", "8bit", "binary", "base64", "quoted-printable"]);
/** Fields that decide how a part is read. */
const deciding = new Set(["content-type", "content-transfer-encoding", "content-disposition"]);

/** Notes what is odd about how a part says it is to be read, and mends a Content-Type by which nobody can read it. */
export function inspectPart(part: Part, ancestors: readonly Part[], defects: Defects): void {
  const seen = new Set<string>();
  for (const { key, line } of part.headers.getList()) {
    if (!deciding.has(key)) continue;
    if (seen.has(key)) defects.add("mime-ambiguous", `a part has more than one ${key}`);
    seen.add(key);
    const twice = repeatedParameter(line);
    if (twice) defects.add("mime-ambiguous", `${key} gives ${twice} more than once`);
  }

  if (!part.contentType || !mediaType.test(part.contentType)) {
    defects.add("content-type-invalid", part.contentType || "it is empty");
    // RFC 2045 §5.2: read as plain text. What is called a file stays one.
    const isFile = part.filename || (part.disposition && part.disposition !== "inline");
    part.contentType = isFile ? "application/octet-stream" : "text/plain";
  }
  if (part.multipart) inspectBoundary(part, ancestors, defects);
  if (part.encoding && !encodings.has(part.encoding)) {
    defects.add("transfer-encoding-unknown", part.encoding);
  }
  if (part.charset && part.contentType.startsWith("text/") && !charsetIsKnown(part.charset)) {
    defects.add("charset-unknown", part.charset);
  }
}

function inspectBoundary(part: Part, ancestors: readonly Part[], defects: Defects): void {
  const boundary = part._boundary;
  if (!boundary) {
    defects.add("boundary-missing", `multipart/${part.multipart} names none`);
    // Nobody can tell its parts apart, but there may be words in it.
    part.contentType = "text/plain";
  } else if (ancestors.some((each) => (each._boundary || undefined)?.equals(boundary))) {
    defects.add("mime-ambiguous", `boundary ${boundary} is also that of an outer multipart`);
  }
}

/** A parameter that is given twice in the same form: readers differ in which they take. */
function repeatedParameter(line: string): string | undefined {
  // The search for quoted strings is quadratic in the worst case, and no honest field is this long.
  if (line.length > 2_000) return undefined;
  const names = line.replace(/"(?:[^"\\]|\\.)*"/gs, '""').matchAll(/;\s*([a-z*0-9-]{1,40})\s*=/gi);
  const seen = new Set<string>();
  for (const [, name = ""] of names) {
    const key = name.toLowerCase();
    if (seen.has(key)) return key;
    seen.add(key);
  }
  return undefined;
}
