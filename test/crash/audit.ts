import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Site } from "./site.ts";

/** What `millrace audit` says against the installation; empty when its books are in order. */
export async function auditProblems(site: Site, acknowledged: readonly string[]): Promise<string[]> {
  const list = join(site.folder, "acknowledged");
  writeFileSync(list, acknowledged.map((id) => `${id}\n`).join(""));
  const words = ["audit", "--json", "--blobs", "content", "--acknowledged", list];
  const { stdout, stderr, status } = await site.millrace.run(words);
  if (status === 0) return [];
  return [`millrace audit ended with status ${status}: ${stderr.trim()}`, ...findingsOf(stdout.toString())];
}

function findingsOf(report: string): string[] {
  try {
    const { findings } = JSON.parse(report) as { findings: unknown[] };
    return findings.map((finding) => `audit: ${JSON.stringify(finding)}`);
  } catch {
    return [`audit: ${report}`];
  }
}
