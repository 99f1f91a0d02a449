import { joined } from "./parts.ts";
import type { Sample } from "./sample.ts";

export const malformed: Sample = {
  name: "malformed",
  about:
    "Almost everything wrong that a server still takes in: two From, no readable date, no end of its parts.",
  from: "odd@example.net",
  build: ({ to, id }) =>
    joined([
      "Date: the day before yesterday",
      "From: Odd <odd@example.net>",
      "From: Even <even@example.net>",
      `To: ${Buffer.from(to.join(", ")).toString("latin1")}`,
      `Message-ID: <${id}@example.net>`,
      // Latin-1, though a header is ASCII or UTF-8.
      "Subject: Caf\xe9 =?utf-8?Q?and a word that is not encoded well",
      "this line is no field at all",
      "MIME-Version: 1.0",
      'Content-Type: multipart/mixed; boundary="=_malformed"',
      "",
      "--=_malformed",
      "Content-Type: text/plain; charset=klingon-8",
      "Content-Transfer-Encoding: rot13",
      "",
      "Jung vf guvf?",
      "--=_malformed",
      "Content-Type: application/pdf; name=broken.pdf",
      "Content-Transfer-Encoding: base64",
      "",
      "JVBERi0xLjQ===not*base64*at*all",
    ]),
};
