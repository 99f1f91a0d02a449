import { heading, joined, textPart } from "./parts.ts";
import type { Sample } from "./sample.ts";

export const spoofed: Sample = {
  name: "spoofed",
  about: "A forged sender: its header says one bank, its envelope another domain, and it vouches for itself.",
  from: "bulk@sender.example",
  build: (making) =>
    joined(
      // Only who looks at the envelope learns who sent it.
      heading({ ...making, from: "security@bank.example" }, '"Your Bank"', "Your account is suspended"),
      [
        "Reply-To: Your Bank <account@collect.example>",
        `Authentication-Results: ${making.to[0]?.split("@").at(-1) || "mx.example.com"}; dkim=pass header.d=bank.example; spf=pass`,
      ],
      textPart("text/plain", "Sign in within 24 hours: https://bank.example.collect.example/\n"),
    ),
};
