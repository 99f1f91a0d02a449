import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, lstat, mkdir, open, readdir, rename, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fnv1a, type TargetConfig } from "@millrace/mail";
import type { DeliveryRequest, RecipientOutcome, Transport } from "../transport.ts";
import { FolderSync } from "./folder-sync.ts";

export type MaildirConfig = Extract<TargetConfig, { maildir: string }>;

/** Octets up to which a message is written in one piece. */
const wholeOctets = 262_144;
/** Folders whose existence is remembered. */
const rememberedFolders = 50_000;
/** Milliseconds by which the clock that stamped the message may be ahead of the file system's. */
const clockSkew = 300_000;

/**
 * Delivers into Maildirs (https://cr.yp.to/proto/maildir.html): written and fsynced in `tmp`, renamed into `new`, and
 * the folder fsynced, so that a delivered message survives a power cut. Folders that are missing are made.
 *
 * A file is the message's octets as they were received, line ends (CRLF) included, behind two lines of ours that end
 * in CRLF too: `Return-Path` with the reverse-path, `Delivered-To` with the recipient.
 *
 * A file's name is made of the message's id and the recipient: delivering again finds it, in `new` or wherever a
 * reader has moved it within `cur`, and leaves it alone. A message that a reader has deleted comes again.
 * @throws the file system's error: a full disk or a wrong permission is mended by somebody, and is temporary
 */
export function maildirTransport(): Transport {
  const known = new Map<string, Promise<void>>();
  const folders = new FolderSync();

  const prepare = (maildir: string): Promise<void> => {
    let ready = known.get(maildir);
    if (!ready) {
      // Forgetting costs four mkdirs at the next message; remembering every one would cost memory for good.
      if (known.size >= rememberedFolders) known.clear();
      ready = makeMaildir(maildir, folders);
      known.set(maildir, ready);
      ready.catch(() => known.delete(maildir));
    }
    return ready;
  };

  const deliverTo = async (request: DeliveryRequest, recipient: string): Promise<string> => {
    const { maildir } = request.target.config as MaildirConfig;
    const heading = headingOf(request.manifest.envelope.from, recipient);
    const name = fileName(request, recipient, heading.length);
    await prepare(maildir);
    if (await isDelivered(maildir, name, request.manifest.receivedAt)) return `${name} was there already`;
    const draft = join(maildir, "tmp", `${name}.${process.pid}.${randomBytes(6).toString("hex")}`);
    try {
      await writeDraft(draft, heading, request);
      await rename(draft, join(maildir, "new", name));
    } catch (error) {
      await unlink(draft).catch(() => {});
      throw error;
    }
    await folders.sync(join(maildir, "new"));
    return `written as ${name}`;
  };

  return {
    async deliver(request) {
      const outcomes: RecipientOutcome[] = [];
      for (const recipient of request.recipients) {
        request.signal.throwIfAborted();
        let reply: string;
        try {
          reply = await deliverTo(request, recipient);
        } catch (error) {
          const { maildir } = request.target.config as MaildirConfig;
          if ((error as NodeJS.ErrnoException).code !== "ENOENT" || !known.delete(maildir)) throw error;
          // Somebody has removed the folder since we saw it.
          reply = await deliverTo(request, recipient);
        }
        outcomes.push({ recipient, result: "delivered", reply });
      }
      return outcomes;
    },
    async close() {},
  };
}

/**
 * `<seconds>.M<message>R<recipient>.millrace,S=<octets>`: the same on whichever machine and however often it is made.
 * The message's id is unique in the world, so the host's name, there to make names unique, may be ours.
 */
function fileName({ message, manifest, size }: DeliveryRequest, recipient: string, heading: number): string {
  const seconds = Math.floor(manifest.receivedAt / 1_000);
  return `${seconds}.M${message}R${fnv1a(recipient)}.millrace,S=${heading + size}`;
}

/** The two lines before the message. What could begin a line of its own in an address is left out of it. */
function headingOf(from: string, recipient: string): Buffer {
  const plain = (address: string) => address.replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, "");
  return Buffer.from(`Return-Path: <${plain(from)}>\r\nDelivered-To: ${plain(recipient)}\r\n`, "utf8");
}

async function isDelivered(maildir: string, name: string, receivedAt: number): Promise<boolean> {
  // First new, then cur: that is the way readers move files, so none can slip past.
  if (await exists(join(maildir, "new", name))) return true;
  const cur = join(maildir, "cur");
  // Nothing was moved there since the message exists. Spares reading a folder that may hold years of mail.
  if ((await stat(cur)).mtimeMs < receivedAt - clockSkew) return false;
  const unique = name.slice(0, name.indexOf(","));
  return (await readdir(cur)).some((entry) => entry.startsWith(unique));
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

async function writeDraft(path: string, heading: Buffer, request: DeliveryRequest): Promise<void> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  // The message first: there is no use in a file for one that cannot be read.
  const content = request.size <= wholeOctets ? await request.read() : await request.raw();
  let file: FileHandle | undefined;
  try {
    file = await open(path, flags, 0o600);
    if (Buffer.isBuffer(content)) await file.writeFile(Buffer.concat([heading, content]));
    else {
      await file.writeFile(heading);
      for await (const piece of content) {
        request.signal.throwIfAborted();
        await file.writeFile(piece as Buffer);
      }
    }
    await file.datasync();
  } finally {
    if (!Buffer.isBuffer(content)) content.destroy();
    await file?.close();
  }
}

async function makeMaildir(maildir: string, folders: FolderSync): Promise<void> {
  await makeFolder(maildir, folders);
  await Promise.all(["tmp", "new", "cur"].map((name) => makeFolder(join(maildir, name), folders)));
}

/** Makes a folder, and those above it that are missing; its entry is on disk in any case. */
async function makeFolder(path: string, folders: FolderSync): Promise<void> {
  try {
    await mkdir(path, 0o700);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") {
      await makeFolder(dirname(path), folders);
      return makeFolder(path, folders);
    }
    if (code !== "EEXIST" || !(await stat(path)).isDirectory()) throw error;
  }
  // Also when it was there: whoever has just made it may not have come so far.
  await folders.sync(dirname(path));
}
