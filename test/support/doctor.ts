import assert from "node:assert/strict";
import type { Installation } from "./millrace.ts";

interface Finding {
  check: string;
  status: "ok" | "warning" | "failure" | "skipped";
  seen: string;
  cure?: string;
  figures?: Record<string, number>;
}

/** What `millrace doctor --json` has found. */
export interface Diagnosis {
  status: number;
  findings: Finding[];
  /** The finding of a check; in a section when its name is given in part. */
  of(check: string, section?: string): Finding;
  /** Checks that have failed. */
  failed: string[];
}

/** Has `millrace doctor` examine something. */
export async function diagnose(
  millrace: Installation,
  words: string[],
  env: Record<string, string> = {},
): Promise<Diagnosis> {
  const { stdout, stderr, status } = await millrace.run(["doctor", ...words, "--json"], env);
  assert.ok(status === 0 || status === 1, `status ${status}: ${stderr}`);
  const { sections } = JSON.parse(stdout.toString()) as {
    sections: { about: string; findings: Finding[] }[];
  };
  const findings = sections.flatMap((section) => section.findings);
  const shown = JSON.stringify(sections, null, 1);
  const failed = findings.filter((finding) => finding.status === "failure").map(({ check }) => check);
  assert.equal(status, failed.length > 0 ? 1 : 0, shown);
  // Whatever is wrong, it is said how to mend it.
  assert.deepEqual(
    findings.filter(({ status, cure }) => (status === "failure" || status === "warning") && !cure),
    [],
  );
  return {
    ...{ status, findings, failed },
    of(check, section = "") {
      const found = sections
        .filter(({ about }) => about.includes(section))
        .flatMap((each) => each.findings)
        .find((finding) => finding.check === check);
      assert.ok(found, `no ${check} in ${shown}`);
      return found;
    },
  };
}
