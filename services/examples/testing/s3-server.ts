import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { freePort } from "@millrace/test/free-port";
import { listens } from "@millrace/test/listens";
import { type Program, startProgram } from "./program.ts";

/** Where `npm test` has installed it. */
const command = resolve(import.meta.dirname, "../../../node_modules/.cache/s3-server/bin/moto_server");

export interface S3Server extends Program {
  endpoint: string;
}

/** An S3 server that is empty at first and keeps nothing. */
export async function startS3Server(): Promise<S3Server> {
  if (!existsSync(command)) throw new Error(`there is no ${command}: run npm test once, which installs it`);
  const port = await freePort();
  const program = await startProgram([command, "-H", "127.0.0.1", "-p", String(port)], () => listens(port));
  return { ...program, endpoint: `http://127.0.0.1:${port}` };
}
