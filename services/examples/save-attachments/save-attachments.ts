import { defineWorker, z } from "@millrace/pipeline";
import type { AttachmentStore } from "./attachment-store.ts";
import { fileName } from "./file-name.ts";
import { folderStore } from "./folder-store.ts";
import { s3Store } from "./s3-store.ts";

const config = z.strictObject({
  /** Which: content types (`application/pdf`, `image/*`) and file names (`*.pdf`). */
  types: z.array(z.string().min(1)).min(1).default(["*/*"]),
  /** A folder, or `s3://bucket/prefix`. */
  to: z.string().min(1).default("./attachments"),
  /** Of the S3: its region, and the URL of a server other than Amazon's. */
  region: z.string().default("us-east-1"),
  endpoint: z.url().optional(),
  accessKey: z.string().optional(),
  secret: z.string().optional(),
});
type SaveConfig = z.output<typeof config>;

/** Saves attachments to a folder or to S3, streaming: none is ever whole in memory. */
export default defineWorker({
  name: "save-attachments",
  version: "1.0.0",
  on: "message.stored",
  where: { attachment: "*/*" },
  config,
  // With S3, each holds up to 10 MiB.
  concurrency: 4,
  timeout: "10m",
  retry: { first: "5s", longest: "5m", giveUpAfter: "5d" },
  emits: {
    "attachments.saved": z.object({
      files: z.array(z.object({ index: z.number(), name: z.string().nullable(), at: z.string() })),
    }),
  },
  async handle(_event, ctx) {
    const wanted = await ctx.attachments(...ctx.config.types);
    if (wanted.length === 0) return;
    const store = await storeOf(ctx.config);
    const files = [];
    for (const { index, filename, contentType, stream } of wanted) {
      const at = await store.save(fileName(ctx.message, index, filename), contentType, stream(), ctx.signal);
      files.push({ index, name: filename, at });
    }
    ctx.log.info({ files: files.length }, "saved");
    ctx.emit("attachments.saved", { files });
  },
});

const stores = new Map<SaveConfig, Promise<AttachmentStore>>();

/** Opened once, and again after it could not be. */
function storeOf(given: SaveConfig): Promise<AttachmentStore> {
  let store = stores.get(given);
  if (!store) {
    store = open(given);
    stores.set(given, store);
    store.catch(() => stores.delete(given));
  }
  return store;
}

async function open({ to, ...options }: SaveConfig): Promise<AttachmentStore> {
  const s3 = /^s3:\/\/([^/]+)\/?(.*)$/.exec(to);
  return s3 ? s3Store({ bucket: s3[1] as string, prefix: s3[2] as string, ...options }) : folderStore(to);
}
