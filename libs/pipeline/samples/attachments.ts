import { filePart, heading, joined, multipart, textPart } from "./parts.ts";
import { pdf } from "./pdf.ts";
import type { Sample } from "./sample.ts";

export const attachments: Sample = {
  name: "attachments",
  about: "Four files of four types: a PDF, a picture, a table, and one whose name is not ASCII.",
  from: "bob@example.net",
  build: (making) =>
    joined(
      heading(making, "Bob Example", "The files you asked for"),
      multipart("mixed", "=_attachments", [
        textPart("text/plain", "Here they are.\n\nBob\n"),
        filePart("application/pdf", "plan.pdf", pdf(["Plan", "1. Build a mill.", "2. Wait for mail."])),
        filePart("image/png", "dot.png", Buffer.from(dot, "base64")),
        filePart("text/csv; charset=utf-8", "orders.csv", "order,amount\r\n1,12.00\r\n2,7.50\r\n"),
        filePart("text/plain; charset=utf-8", "Übersicht – März.txt", "Grüße aus der Mühle\r\n"),
      ]),
    ),
};

/** A picture of one pixel. */
const dot =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
