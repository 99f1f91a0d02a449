import { readFile, stat } from "node:fs/promises";
import { type Logger, StartError } from "@millrace/service";
import { decoyOf, type PasswordHash, parseHash, verifyPassword } from "./password-hash.ts";
import { type Directory, reversePathSchema, type User, userNameSchema } from "./user.ts";

type FileUser = User & { hash: PasswordHash };
interface Content {
  users: Map<string, FileUser>;
  decoy: PasswordHash;
}

const atOnce = 3;

/**
 * Users of a file, one in a line as `htpasswd` has them: `name:hash`, or `name:hash:pattern,pattern` with the allowed
 * reverse-paths. Empty lines, and lines that begin with `#`, say nothing. It is read again when it has changed; content
 * that cannot be used is logged, and what was read before stays. While it cannot be read at all nobody can be verified.
 *
 * @throws StartError that names file and line
 */
export async function userFile(path: string, log: Logger): Promise<Directory> {
  let version: string | undefined;
  let content: Content;

  const versionNow = async () => {
    const { ino, mtimeMs, size } = await stat(path);
    return `${ino} ${mtimeMs} ${size}`;
  };
  const current = async (): Promise<Content> => {
    const now = await versionNow();
    if (now === version) return content;
    const text = await readFile(path, "utf8");
    version = now;
    try {
      content = contentOf(text);
      log.info({ file: path, users: content.users.size }, "users read again");
    } catch (error) {
      log.error({ file: path, err: error }, "users not read again, those from before stay");
    }
    return content;
  };

  try {
    version = await versionNow();
    content = contentOf(await readFile(path, "utf8"));
  } catch (error) {
    throw new StartError(`auth.file=${path}: ${(error as Error).message}`);
  }
  return {
    atOnce,
    async verify({ name, password }) {
      const { users, decoy } = await current();
      const wanted = userNameSchema.safeParse(name);
      const user = wanted.success ? users.get(wanted.data) : undefined;
      const right = await verifyPassword(user?.hash ?? decoy, password);
      return user && right ? { name: user.name, reversePaths: user.reversePaths } : undefined;
    },
    async close() {},
  };
}

/** @throws Error that names the line, and never shows a hash */
function contentOf(text: string): Content {
  const users = new Map<string, FileUser>();
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const [name = "", hash = "", paths = "", ...more] = line.trim().split(":");
    const read = userNameSchema.safeParse(name);
    const wrong = (what: string) => new Error(`line ${i + 1}: ${what}`);
    if (!read.success) throw wrong(read.error.issues[0]?.message ?? "no name");
    if (more.length > 0) throw wrong("there is more than name:hash:reverse-paths");
    if (users.has(read.data)) throw wrong(`${read.data} is there twice; keep one`);
    const reversePaths = paths.split(",").filter((path) => path !== "");
    for (const path of reversePaths) {
      const { error } = reversePathSchema.safeParse(path);
      if (error) throw wrong(`${path}: ${error.issues[0]?.message}`);
    }
    try {
      users.set(read.data, { name: read.data, hash: parseHash(hash), reversePaths });
    } catch (error) {
      throw wrong(`the hash of ${read.data} cannot be used: ${(error as Error).message}`);
    }
  }
  const [first] = users.values();
  return { users, decoy: decoyOf(first?.hash) };
}
