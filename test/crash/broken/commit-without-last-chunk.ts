import { inService } from "./in-service.ts";

/** Where the commit's arguments have the number of octets, the manifest and the last chunk (libs/spool). */
const at = { octets: 5, manifest: 6, lastChunk: 9 };

// An edge that commits before the last chunk is there, and says that what is there is all. Our own Received field stays.
if (inService(import.meta.url)) {
  const { replaceSpoolCommit } = await import("./spool-commit.ts");
  replaceSpoolCommit((commit, args) => {
    const manifest = JSON.parse(args[at.manifest] as string) as { receivedFieldSize: number };
    const chunk = args[at.lastChunk] as Buffer;
    const before = Number(args[at.octets]) - chunk.length;
    const kept = chunk.subarray(0, Math.max(0, manifest.receivedFieldSize - before));
    const broken = [...args];
    broken[at.octets] = before + kept.length;
    broken[at.lastChunk] = kept;
    broken[at.manifest] = JSON.stringify({
      ...manifest,
      size: before + kept.length - manifest.receivedFieldSize,
    });
    return commit(...broken);
  });
}
