import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { passwordSchema } from "@millrace/auth";
import { CommandError } from "../terminal.ts";

/**
 * Asks for a new password twice without showing it; where standard input is no terminal, it is the first line there.
 * @throws CommandError when there is none, or it cannot be one
 */
export async function readPassword(name: string): Promise<string> {
  const password = process.stdin.isTTY ? await askedTwice(name) : await firstLine();
  const { error } = passwordSchema.safeParse(password);
  if (error) throw new CommandError(`${error.issues[0]?.message}; nothing was changed`, 2);
  return password;
}

async function askedTwice(name: string): Promise<string> {
  const password = await hidden(`Password for ${name}: `);
  if ((await hidden("Once more: ")) !== password)
    throw new CommandError("the two are not the same; nothing was changed", 2);
  return password;
}

/** readline takes the terminal's echo over, and what it would write goes nowhere. */
async function hidden(question: string): Promise<string> {
  process.stderr.write(question);
  const nowhere = new Writable({ write: (_octets, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output: nowhere, terminal: true, historySize: 0 });
  try {
    return await new Promise<string>((resolve, reject) => {
      terminal.once("SIGINT", () => reject(new CommandError("nothing was changed", 130)));
      terminal.once("close", () => reject(new CommandError("no password came; nothing was changed", 2)));
      terminal.question("").then(resolve, reject);
    });
  } finally {
    terminal.close();
    process.stderr.write("\n");
  }
}

async function firstLine(): Promise<string> {
  const lines = createInterface({ input: process.stdin });
  try {
    for await (const line of lines) return line;
    return "";
  } finally {
    lines.close();
  }
}
