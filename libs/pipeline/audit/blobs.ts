import { createHash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import type { MailStore, StoredBlob, StoreSnapshot } from "@millrace/mailstore";
import type { AuditFinding, BlobCheck } from "./report.ts";

/** Blobs between two turns of the event loop. */
const atOnce = 1_000;

/** Looks at every stored blob. */
export async function checkBlobs(
  mailstore: MailStore,
  store: StoreSnapshot,
  by: BlobCheck,
  progress: (checked: number) => void,
): Promise<{ findings: AuditFinding[]; checked: number }> {
  const findings: AuditFinding[] = [];
  let checked = 0;
  if (by === "none") return { findings, checked };
  for (const blob of store.blobs()) {
    const defect =
      mailstore.blobDefect(blob.id, blob.size) ??
      (by === "content" ? await contentDefect(mailstore, blob) : undefined);
    // It may have been removed since the snapshot.
    if (defect && mailstore.has(blob.id)) {
      findings.push({ message: blob.id, problem: "damaged", detail: defect });
    }
    if (++checked % atOnce === 0) {
      progress(checked);
      await setImmediate();
    }
  }
  return { findings, checked };
}

async function contentDefect(
  mailstore: MailStore,
  { id, fieldSize, sha256 }: StoredBlob,
): Promise<string | undefined> {
  const hash = createHash("sha256");
  let skip = fieldSize;
  try {
    for await (const chunk of mailstore.raw(id) as AsyncIterable<Buffer>) {
      hash.update(chunk.subarray(Math.min(skip, chunk.length)));
      skip = Math.max(0, skip - chunk.length);
    }
  } catch (error) {
    return (error as Error).message;
  }
  const found = hash.digest("hex");
  return found === sha256
    ? undefined
    : `its blob has the SHA-256 ${found} where ${sha256} was stored; restore it from a backup`;
}
