import { heading, joined, textPart } from "./parts.ts";
import type { Sample } from "./sample.ts";

export const plain: Sample = {
  name: "plain",
  about: "A few lines of plain text and nothing else.",
  from: "ann@example.net",
  build: (making) =>
    joined(
      heading(making, "Ann Example", "Lunch on Friday?"),
      textPart(
        "text/plain",
        "Hello,\n\nshall we have lunch on Friday? The café at the mill opens at twelve.\n\nAnn\n",
      ),
    ),
};
