import { heading, joined, mailDate, textPart } from "./parts.ts";
import type { Sample } from "./sample.ts";

export const reply: Sample = {
  name: "reply",
  about: "The third mail of a thread: In-Reply-To, References, and what it answers quoted below.",
  from: "bob@example.net",
  build: (making) =>
    joined(
      heading(making, "Bob Example", "Re: Re: Where is order 17?"),
      [
        `In-Reply-To: <second.${making.id}@example.com>`,
        `References: <first.${making.id}@example.net>`,
        ` <second.${making.id}@example.com>`,
      ],
      textPart("text/plain", words(mailDate(new Date(making.at.getTime() - 3_600_000)))),
    ),
};

const words = (earlier: string) => `It has arrived. Thank you!

On ${earlier}, support@example.com wrote:
> It left us on Monday and should be with you tomorrow.
>
>> Hello, where is order 17?
>> Bob
`;
