import { inService } from "./in-service.ts";

/** Milliseconds by which the 250 comes too early. */
const early = 300;

// An edge that says 250 first, and commits then.
if (inService(import.meta.url)) {
  const { replaceSpoolCommit } = await import("./spool-commit.ts");
  replaceSpoolCommit(async (commit, args) => {
    setTimeout(() => commit(...args).catch(() => {}), early);
    return 1;
  });
}
