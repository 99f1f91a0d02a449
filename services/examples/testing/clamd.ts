import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { listens } from "@millrace/test/listens";
import { type Program, startProgram } from "./program.ts";

export interface Clamd extends Program {
  socket: string;
}

/** The harmless test file that every virus scanner knows (https://www.eicar.org); in two halves, so that none finds it here. */
export const eicar = ["X5O!P%@AP[4\\PZX54(P^)7CC)7}", "$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"].join("");

/** A clamd with its own settings and socket, and with one signature: that of EICAR. @param folder for its files */
export async function startClamd(folder: string): Promise<Clamd> {
  const socket = join(folder, "clamd.sock");
  // Name, any kind of file, at any offset, octets: https://docs.clamav.net/manual/Signatures/BodySignatureFormat.html
  writeFileSync(join(folder, "eicar.ndb"), `Eicar-Test:0:*:${Buffer.from(eicar).toString("hex")}\n`);
  const settings = join(folder, "clamd.conf");
  writeFileSync(
    settings,
    `Foreground yes
DatabaseDirectory ${folder}
OfficialDatabaseOnly no
LocalSocket ${socket}
TemporaryDirectory ${folder}
StreamMaxLength 1M
ScanMail yes
`,
  );
  const program = await startProgram(["clamd", "--config-file", settings], () => listens(socket));
  return { ...program, socket };
}
