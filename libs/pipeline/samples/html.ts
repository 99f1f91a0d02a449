import { heading, joined, multipart, textPart } from "./parts.ts";
import type { Sample } from "./sample.ts";

export const html: Sample = {
  name: "html",
  about: "A newsletter: HTML, and the same words as plain text beside it.",
  from: "news@shop.example",
  build: (making) =>
    joined(
      heading(making, "The Shop", "New this week: grinding stones"),
      ["List-Unsubscribe: <https://shop.example/unsubscribe>"],
      multipart("alternative", "=_html", [
        textPart("text/plain", "New this week\n\nGrinding stones, from 12 €: https://shop.example/stones\n"),
        textPart("text/html", page),
      ]),
    ),
};

const page = `<!doctype html>
<html>
  <head><title>New this week</title><style>h1 { color: #345 }</style></head>
  <body>
    <h1>New this week</h1>
    <p>Grinding stones, from <b>12&nbsp;€</b>: <a href="https://shop.example/stones">have a look</a>.</p>
  </body>
</html>
`;
