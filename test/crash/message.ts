import { hash } from "node:crypto";
import type { Random } from "./random.ts";

/** A mail as a sender has it: unlike any other, so that its hash tells which one it is wherever it turns up. */
export interface Mail {
  name: string;
  /** Lines end in CRLF; not dot-stuffed. */
  raw: Buffer;
  sha256: string;
  to: string[];
}

/** Domains of recipients, each with the targets its mail goes to. */
export const domains = {
  "maildir.test": ["maildir"],
  "smtp.test": ["smtp"],
  "hook.test": ["webhook"],
  "all.test": ["maildir", "smtp", "webhook"],
} as const;

export type TargetName = (typeof domains)[keyof typeof domains][number];

/** The recipients of a mail that one kind of target is to get it for. */
export function recipientsFor(target: TargetName, to: readonly string[]): string[] {
  return to.filter((address) => {
    const domain = address.slice(address.indexOf("@") + 1) as keyof typeof domains;
    return (domains[domain] as readonly TargetName[]).includes(target);
  });
}

/** Octets of a mail and how often: most are small, some fill a spool's chunk, a few are streamed to the disk. */
const sizes = [
  [0.7, 300, 4_000],
  [0.22, 4_000, 60_000],
  [0.06, 64_000, 200_000],
  [0.02, 270_000, 600_000],
] as const;

export function newMail(name: string, random: Random): Mail {
  const boxes = random.chance(0.3) ? 2 : 1;
  const to = new Set<string>();
  while (to.size < boxes)
    to.add(
      `box${random.integer(1, 5)}@${random.chance(0.5) ? "all.test" : random.pick(Object.keys(domains))}`,
    );
  const raw = Buffer.from(
    [
      "From: sender@example.test",
      `To: ${[...to].join(", ")}`,
      `Subject: ${name}`,
      `Message-ID: <${name.replaceAll(" ", ".")}@example.test>`,
      "",
      text(sizeOf(random), random),
      "",
    ].join("\r\n"),
  );
  return { name, raw, sha256: hash("sha256", raw, "hex"), to: [...to] };
}

function sizeOf(random: Random): number {
  let draw = random.next();
  for (const [share, min, max] of sizes) {
    if (draw < share) return random.integer(min, max);
    draw -= share;
  }
  return 1_000;
}

/** Lines of text; some begin with a dot, as only dot-stuffing carries them. */
function text(octets: number, random: Random): string {
  const line = `${random.chance(0.1) ? "." : ""}${random.next().toString(36).slice(2)} the wheels turn and turn`;
  const paragraph = `${line}\r\n..two dots, ${random.next()}\r\n.\tone\r\n\r\n`;
  return paragraph
    .repeat(Math.ceil(octets / paragraph.length))
    .slice(0, octets)
    .replace(/\r$/, "");
}
