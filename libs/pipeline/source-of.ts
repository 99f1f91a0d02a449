import { dirname, relative } from "node:path";
import { fileURLToPath } from "node:url";

/** Where our own libraries lie: a worker's mistake is not in them. */
const ownFolder = dirname(import.meta.dirname);

/**
 * Where in a worker's own code an error came from: `invoices.ts:12:7`, from the working folder; undefined when no line
 * of its stack is the worker's. Never throws.
 */
export function sourceOf(error: unknown): string | undefined {
  const stack = error instanceof Error ? error.stack : undefined;
  if (typeof stack !== "string") return undefined;
  for (const line of stack.split("\n")) {
    const [, place] = /^\s+at (?:.*\()?((?:file:\/\/)?\/[^()]+:\d+:\d+)\)?$/.exec(line) ?? [];
    if (!place) continue;
    const path = place.startsWith("file://") ? pathOf(place) : place;
    if (path && !path.includes("/node_modules/") && !path.startsWith(`${ownFolder}/`)) {
      const fromHere = relative(process.cwd(), path);
      return fromHere.startsWith("..") ? path : fromHere;
    }
  }
  return undefined;
}

function pathOf(url: string): string | undefined {
  try {
    // A query, as a module that is loaded anew may have, is no part of its name.
    const [, file = "", position = ""] = /^(.*?)(?:\?[^:]*)?(:\d+:\d+)$/.exec(url) ?? [];
    return fileURLToPath(file) + position;
  } catch {
    return undefined;
  }
}
