import assert from "node:assert/strict";
import { test } from "node:test";
import { wordsOfHtml } from "./html-words.ts";

const words: [html: string, text: string][] = [
  ["<p>one</p><p>two</p>", "one\ntwo"],
  ["a<b>b</b>c<br>d", "abc\nd"],
  ["<style>p{}</style><script>if (a<b) x()</script ><title>t</title>seen", "seen"],
  ["<!-- <p>no</p> -->yes<!DOCTYPE html><?php x?>", "yes"],
  ['<a title="a > b" href=x>link</a>', "link"],
  ["1 &lt; 2 &amp;&amp; caf&eacute; &#8364;&nbsp;5", "1 < 2 && café € 5"],
  ["&lt;b&gt;not a tag&lt;/b&gt;", "<b>not a tag</b>"],
  ["1 < 2 and <3", "1 < 2 and <3"],
  ["  a \n\t b  ", "a b"],
  ["<td>x</td> <td>y</td>", "x\ny"],
  ['before <a title="never closed>after', "before after"],
  ["cut <b", "cut"],
];
for (const [html, text] of words) {
  test(JSON.stringify(html), () => assert.equal(wordsOfHtml(html, 1_000), text));
}

test("no more than the limit is looked at", () => assert.equal(wordsOfHtml("<p>12345", 5), "12"));

test("1 MiB of anything takes no more than its time", () => {
  const hostile = [
    "<",
    "<a ",
    '<a ">',
    `<a "'>`,
    "<!--",
    "&#",
    "&",
    "<script>",
    "<div>",
    "<b> ",
    " ",
    "<b>\n",
  ];
  for (const piece of [...hostile, "<title></titl", "</", "<!"]) {
    const started = performance.now();
    wordsOfHtml(piece.repeat(1_048_576 / piece.length), 1_048_576);
    assert.ok(performance.now() - started < 2_000, piece);
  }
});
