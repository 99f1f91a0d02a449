import { randomBytes } from "node:crypto";
import { link, mkdir, open, readFile, unlink } from "node:fs/promises";
import { join } from "node:path";

const keyOctets = 32;

/**
 * The key that signs the links in webhooks: 32 random octets in `<data>/link.key`, readable by the owner only. Whoever
 * comes first makes it, and all others read it. Machines that share links share this file.
 *
 * @param data the data folder; made if it is missing
 * @throws when the file cannot be made or read, or holds something else
 */
export async function linkKey(data: string): Promise<Buffer> {
  const path = join(data, "link.key");
  const found = await readKey(path);
  if (found) return found;
  await mkdir(data, { recursive: true });
  // Written aside and linked into place: the name appears with the whole key behind it, and for one maker only.
  const draft = `${path}.${process.pid}.${randomBytes(6).toString("hex")}`;
  const file = await open(draft, "wx", 0o600);
  try {
    await file.writeFile(randomBytes(keyOctets));
    await file.sync();
    await link(draft, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
  } finally {
    await file.close();
    await unlink(draft);
  }
  return (await readKey(path)) as Buffer;
}

async function readKey(path: string): Promise<Buffer | undefined> {
  let key: Buffer;
  try {
    key = await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  if (key.length !== keyOctets)
    throw new Error(
      `${path} holds ${key.length} octets instead of ${keyOctets}: remove it, and a new key is made; links sent until now stop working`,
    );
  return key;
}
