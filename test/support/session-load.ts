import { setTimeout as sleep } from "node:timers/promises";
import { SmtpDialogue } from "./smtp-dialogue.ts";

/** Where clients come in, and how: `implicit` is TLS from the first octet on. */
export interface Door {
  port: number;
  tls: "off" | "starttls" | "implicit";
}

/** What clients have seen that open one session after another, each with a few messages, as fast as they can. */
export interface SessionLoad {
  /** Ids of the messages that were acknowledged. */
  acknowledged: string[];
  /** How many sessions ended with a 421 that the client could read. */
  dismissed(): number;
  /** Everything else that went wrong: other replies, and connections that ended without one. */
  errors: string[];
  /** Lets each session come to its end. */
  stop(): Promise<void>;
}

class Dismissed extends Error {}

/** @param clients how many at each door */
export function startSessions(doors: readonly Door[], clients: number): SessionLoad {
  const acknowledged: string[] = [];
  const errors: string[] = [];
  let dismissed = 0;
  let over = false;
  const client = async (door: Door) => {
    while (!over) {
      try {
        await session(door, acknowledged);
      } catch (error) {
        if (error instanceof Dismissed) dismissed++;
        else {
          errors.push((error as Error).message);
          // Whoever cannot connect must not spend the machine on trying.
          await sleep(50);
        }
      }
    }
  };
  const all = Promise.all(doors.flatMap((door) => Array.from({ length: clients }, () => client(door))));
  return {
    ...{ acknowledged, errors },
    dismissed: () => dismissed,
    async stop() {
      over = true;
      await all;
    },
  };
}

async function session({ port, tls }: Door, acknowledged: string[]): Promise<void> {
  const client = await SmtpDialogue.connect(port);
  const ask = async (wanted: string, ...lines: string[]): Promise<string> => {
    if (lines.length > 0) await client.send(...lines);
    const reply = await client.expect("");
    if (reply.startsWith("421 ")) throw new Dismissed();
    if (!reply.startsWith(wanted)) throw new Error(`${lines[0] ?? "(greeting)"}: ${reply}`);
    return reply;
  };
  try {
    if (tls === "implicit") await client.secure();
    await ask("220 ");
    await ask("250", "EHLO client.example");
    if (tls === "starttls") {
      await ask("220 ", "STARTTLS");
      await client.secure();
      await ask("250", "EHLO client.example");
    }
    for (let message = 0; message < 5; message++) {
      await ask("250 ", "MAIL FROM:<b@example.net>");
      await ask("250 ", "RCPT TO:<a@example.com>");
      await ask("354 ", "DATA");
      const reply = await ask("250 2.0.0 Ok: queued as ", "Subject: load", "", "x", ".");
      acknowledged.push(reply.split(" ").at(-1) as string);
    }
    await ask("221 ", "QUIT");
  } finally {
    client.destroy();
  }
}
