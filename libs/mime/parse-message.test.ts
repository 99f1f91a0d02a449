import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { test } from "node:test";
import { type DefectCode, type ParsedMessage, parsedMessageSchema } from "@millrace/mail";
import { parseMessage } from "./index.ts";

/** A message out of lines; what is between them is CRLF. A string stands for its octets in latin1. */
async function parse(...lines: string[]): Promise<ParsedMessage> {
  return parsedMessageSchema.parse(await parseMessage(Buffer.from(lines.join("\r\n"), "latin1")));
}
const utf8 = (text: string) => Buffer.from(text, "utf8").toString("latin1");
const codes = (message: ParsedMessage): DefectCode[] => message.defects.map(({ code }) => code);
const sound = ["From: a@example.com", "Date: Fri, 21 Nov 1997 09:55:06 -0600"];

test("a plain message is read field by field", async () => {
  const message = await parse(
    "Received: from client by edge; Fri, 21 Nov 1997 09:55:07 -0600",
    'From: "Doe, John" <john@example.com>',
    "Sender: secretary@example.com",
    "Reply-To: replies@example.com",
    "To: Mary <mary@example.net>, Friends: ann@example.org, Bob <bob@example.org>;",
    "To: late@example.net",
    "Cc: undisclosed-recipients:;",
    "Bcc:",
    "Subject: A long",
    "\tsubject",
    "Message-ID: <1@example.com>",
    "In-Reply-To: Your message of Thursday <0@example.com>",
    "References: <a@example.com>",
    "  <b@example.com>",
    "Date: Fri, 21 Nov 1997 09:55:06 -0600",
    "",
    "Hello.",
    "Bye.",
    "",
  );
  assert.deepEqual(message.defects, []);
  assert.deepEqual(message.from, [{ name: "Doe, John", address: "john@example.com" }]);
  assert.deepEqual(message.sender, [{ name: "", address: "secretary@example.com" }]);
  assert.deepEqual(message.replyTo, [{ name: "", address: "replies@example.com" }]);
  assert.deepEqual(message.to, [
    { name: "Mary", address: "mary@example.net" },
    { name: "", address: "ann@example.org" },
    { name: "Bob", address: "bob@example.org" },
    { name: "", address: "late@example.net" },
  ]);
  assert.deepEqual([message.cc, message.bcc], [[], []]);
  assert.equal(message.subject, "A long subject");
  assert.equal(message.messageId, "<1@example.com>");
  assert.equal(message.inReplyTo, "<0@example.com>");
  assert.deepEqual(message.references, ["<a@example.com>", "<b@example.com>"]);
  assert.equal(message.date, "1997-11-21T15:55:06.000Z");
  assert.equal(message.text, "Hello.\nBye.\n");
  assert.equal(message.html, "");
  assert.deepEqual(message.attachments, []);
  assert.deepEqual(
    message.headers.map(({ name }) => name),
    "Received From Sender Reply-To To To Cc Bcc Subject Message-ID In-Reply-To References Date".split(" "),
  );
  assert.deepEqual(message.headers[8], {
    name: "Subject",
    raw: " A long\r\n\tsubject",
    value: "A long subject",
  });
});

test("encoded words are decoded in fields and names, and kept as they came in raw", async () => {
  const message = await parse(
    ...sound,
    "To: =?iso-8859-1?Q?J=F6rg?= <j@example.com>",
    "Subject: =?utf-8?B?R3LDvMOf?= =?utf-8?Q?e_aus?= =?iso-2022-jp?B?GyRCRnxLXBsoQg==?=",
    "",
    "",
  );
  assert.equal(message.to[0]?.name, "Jörg");
  assert.equal(message.subject, "Grüße aus日本");
  assert.match(message.headers[3]?.raw ?? "", /^ =\?utf-8\?B\?/);
  assert.deepEqual(message.defects, []);
});

test("a header of raw octets is UTF-8 where it can be, else latin1", async () => {
  const message = await parse(...sound, utf8("Subject: Grüße"), "X-Old: Gr\xfc\xdfe", "", "");
  assert.equal(message.subject, "Grüße");
  assert.equal(message.headers.at(-1)?.value, "Grüße");
});

test("texts are read in their charset and transfer encoding", async () => {
  const cases: [type: string, encoding: string, body: string, text: string][] = [
    ["text/plain; charset=utf-8", "8bit", utf8("Grüße €"), "Grüße €"],
    ["text/plain; charset=iso-8859-1", "quoted-printable", "Gr=FC=DFe=\r\n!", "Grüße!"],
    ["text/plain; charset=windows-1252", "base64", "gA==", "€"],
    ["text/plain; charset=shift_jis", "base64", "k/qWew==", "日本"],
    ["text/plain; charset=gb18030", "base64", "1tDOxA==", "中文"],
    ["text/plain; charset=koi8-r", "8bit", "\xf0\xf2", "ПР"],
    ["text/plain; format=flowed; charset=us-ascii", "7bit", "one \r\ntwo", "one two"],
  ];
  for (const [type, encoding, body, text] of cases) {
    const message = await parse(
      ...sound,
      `Content-Type: ${type}`,
      `Content-Transfer-Encoding: ${encoding}`,
      "",
      body,
    );
    assert.deepEqual([message.text, message.defects], [text, []], type);
  }
});

test("both ways of an alternative are kept, and the plain one is the text", async () => {
  const message = await parse(
    ...sound,
    "Content-Type: multipart/alternative; boundary=b",
    "",
    "--b",
    "Content-Type: text/plain",
    "",
    "plain words",
    "--b",
    "Content-Type: text/html",
    "",
    "<p>html words</p>",
    "--b--",
    "",
  );
  assert.deepEqual([message.text, message.html], ["plain words", "<p>html words</p>"]);
  assert.deepEqual(message.defects, []);
});

test("HTML without a plain text beside it gives its words to the text", async () => {
  const alone = await parse(
    ...sound,
    "Content-Type: text/html",
    "",
    "<h1>Caf&eacute;</h1><p>a&amp;b <b>x</b>y",
  );
  assert.equal(alone.text, "Café\na&b xy");
  const footer = await parse(
    ...sound,
    "Content-Type: multipart/mixed; boundary=b",
    "",
    "--b",
    "Content-Type: text/html",
    "",
    "<p>body</p>",
    "--b",
    "",
    "footer of the list",
    "--b--",
  );
  assert.equal(footer.text, "body\nfooter of the list");
});

test("attachments are described by what their octets are", async () => {
  const octets = Buffer.from([0, 1, 2, 255, 254]);
  const message = await parse(
    ...sound,
    "Content-Type: multipart/mixed; boundary=b",
    "",
    "--b",
    "Content-Type: image/png; name=a.png",
    "Content-ID: <logo@example.com>",
    "Content-Disposition: inline",
    "Content-Transfer-Encoding: base64",
    "",
    octets.toString("base64"),
    "--b",
    "Content-Disposition: attachment; filename*=utf-8''%E2%82%AC%20rates.txt",
    "",
    "text",
    "--b",
    "Content-Type: text/calendar; method=REQUEST",
    "",
    "BEGIN:VCALENDAR",
    "--b",
    "Content-Type: application/pdf;",
    " name*0=long-; name*1=name.pdf",
    "",
    "--b--",
    "",
  );
  const sha256 = (content: Buffer | string) => createHash("sha256").update(content).digest("hex");
  assert.deepEqual(message.attachments, [
    {
      index: 0,
      filename: "a.png",
      contentType: "image/png",
      size: 5,
      sha256: sha256(octets),
      contentId: "logo@example.com",
      disposition: "inline",
    },
    {
      index: 1,
      filename: "€ rates.txt",
      contentType: "text/plain",
      size: 4,
      sha256: sha256("text"),
      contentId: null,
      disposition: "attachment",
    },
    {
      index: 2,
      filename: null,
      contentType: "text/calendar",
      size: 15,
      sha256: sha256("BEGIN:VCALENDAR"),
      contentId: null,
      disposition: null,
    },
    {
      index: 3,
      filename: "long-name.pdf",
      contentType: "application/pdf",
      size: 0,
      sha256: sha256(""),
      contentId: null,
      disposition: null,
    },
  ]);
  assert.deepEqual(message.defects, []);
});

test("a file name is what the sender wrote, whatever it would do to a file system", async () => {
  for (const filename of ["../../etc/passwd", "CON", "C:\\boot.ini", "a/b"]) {
    const quoted = filename.replaceAll("\\", "\\\\");
    const message = await parse(...sound, `Content-Disposition: attachment; filename="${quoted}"`, "", "x");
    assert.equal(message.attachments[0]?.filename, filename);
  }
  const nul = await parse(...sound, "Content-Disposition: attachment; filename*=utf-8''a%00b", "", "x");
  assert.equal(nul.attachments[0]?.filename, "a\ufffdb");
});

test("an attached message is an attachment; an inline one is read as part of this", async () => {
  const within = ["From: Inner <i@example.com>", "Subject: inner", "", "inner words"];
  const wrapped = (disposition: string) =>
    parse(
      ...sound,
      "Content-Type: multipart/mixed; boundary=b",
      "",
      "--b",
      "",
      "outer words",
      "--b",
      "Content-Type: message/rfc822",
      ...(disposition ? [`Content-Disposition: ${disposition}`] : []),
      "",
      ...within,
      "--b--",
    );
  const attached = await wrapped("");
  assert.equal(attached.text, "outer words");
  assert.deepEqual(
    attached.attachments.map(({ contentType, size }) => [contentType, size]),
    [["message/rfc822", within.join("\r\n").length]],
  );
  const inline = await wrapped("inline");
  assert.match(inline.text, /outer words[\s\S]*Subject: inner[\s\S]*inner words/);
  assert.deepEqual(inline.attachments, []);
  assert.equal(inline.subject, "");
});

test("an inline message that is not there does not keep the parser waiting", async () => {
  const message = await parse(
    ...sound,
    "Content-Type: multipart/mixed; boundary=b",
    "",
    "--b",
    "Content-Type: message/rfc822",
    "Content-Disposition: inline",
    "",
    "--b--",
  );
  assert.deepEqual([message.text, message.attachments, message.defects], ["", [], []]);
});

test("no text holds what a store cannot take", async () => {
  const lone = Buffer.from([0x3d, 0xd8, 0x41, 0x00]).toString("base64");
  const message = await parse(
    ...sound,
    "X-Nul: a\0b",
    `Subject: =?utf-16le?B?${lone}?=`,
    "Content-Type: text/plain; charset=utf-16le",
    "Content-Transfer-Encoding: base64",
    "",
    Buffer.from([0x41, 0, 0, 0, 0x3d, 0xd8, 0x42, 0]).toString("base64"),
  );
  const everything = JSON.stringify(message);
  assert.doesNotMatch(everything, /\\u0000|\\ud[89a-f]/i);
  assert.equal(message.headers.at(2)?.raw, " a\ufffdb");
  assert.equal(message.text, "A\ufffd\ufffdB");
});

test("a stream in octets of one gives the same as the whole", async () => {
  const raw = Buffer.from(
    [
      ...sound,
      "Content-Type: multipart/mixed; boundary=b",
      "",
      "--b",
      "",
      utf8("Grüße"),
      "--b",
      "Content-Type: image/png",
      "Content-Transfer-Encoding: base64",
      "",
      "AAEC",
      "AwQF",
      "--b--",
      "",
    ].join("\r\n"),
    "latin1",
  );
  const single = Readable.from(
    (function* () {
      for (const octet of raw) yield Buffer.from([octet]);
    })(),
  );
  assert.deepEqual(await parseMessage(single), await parseMessage(raw));
});

test("what the source throws comes out as it is", async () => {
  const broken = Readable.from(
    (async function* () {
      yield Buffer.from("From: a@example.com\r\n\r\nx");
      throw new RangeError("the spool is gone");
    })(),
  );
  await assert.rejects(parseMessage(broken), (error) => error instanceof RangeError);
});

const odd: [code: DefectCode, lines: string[]][] = [
  ["header-malformed", [...sound, "not a field", "", ""]],
  ["header-malformed", [...sound, "two words: value", "", ""]],
  ["date-missing", ["From: a@example.com", "", ""]],
  ["date-invalid", ["From: a@example.com", "Date: Whenever", "", ""]],
  ["from-missing", ["Date: Fri, 21 Nov 1997 09:55:06 -0600", "", ""]],
  ["from-missing", ["Date: Fri, 21 Nov 1997 09:55:06 -0600", "From: nobody", "", ""]],
  ["from-multiple", [...sound, "From: b@example.com", "", ""]],
  ["address-invalid", [...sound, "To: somebody", "", ""]],
  ["content-type-invalid", [...sound, "Content-Type: text", "", "words"]],
  ["charset-unknown", [...sound, "Content-Type: text/plain; charset=klingon", "", "words"]],
  ["charset-unknown", [...sound, "Content-Type: text/plain; charset=utf-7", "", "+ADw-script+AD4-"]],
  ["charset-unknown", [...sound, "Subject: =?klingon?Q?nuqneH?=", "", ""]],
  ["charset-mismatch", [...sound, "Content-Type: text/plain; charset=utf-8", "", "Gr\xfc\xdfe"]],
  ["transfer-encoding-unknown", [...sound, "Content-Transfer-Encoding: x-uuencode", "", "words"]],
  ["boundary-missing", [...sound, "Content-Type: multipart/mixed", "", "words"]],
  ["boundary-missing", [...sound, "Content-Type: multipart/mixed; boundary=b", "", "--b", "", "words"]],
  ["mime-ambiguous", [...sound, "Content-Type: text/plain", "Content-Type: text/html", "", ""]],
  [
    "mime-ambiguous",
    [...sound, "Content-Transfer-Encoding: 7bit", "Content-Transfer-Encoding: base64", "", ""],
  ],
  ["mime-ambiguous", [...sound, "Content-Type: text/plain; charset=utf-8; charset=utf-7", "", ""]],
  ["mime-ambiguous", [...sound, "Content-Disposition: inline; filename*=u''a; filename*=u''b", "", ""]],
];
for (const [code, lines] of odd) {
  test(`${code}: ${lines.find((line) => !sound.includes(line)) || "(nothing)"}`, async () => {
    const message = await parse(...lines);
    assert.ok(codes(message).includes(code), JSON.stringify(message.defects));
    if (lines.at(-1) === "words") assert.equal(message.text, "words");
  });
}

test("a boundary used twice is said, and the words of both are there", async () => {
  const message = await parse(
    ...sound,
    "Content-Type: multipart/mixed; boundary=b",
    "",
    "--b",
    "Content-Type: multipart/mixed; boundary=b",
    "",
    "--b",
    "",
    "one",
    "--b--",
    "--b",
    "",
    "two",
    "--b--",
  );
  assert.ok(codes(message).includes("mime-ambiguous"));
  assert.match(message.text, /one/);
});

test("UTF-7 is never decoded", async () => {
  const message = await parse(
    ...sound,
    "Subject: =?utf-7?Q?+ADw-script+AD4-?=",
    "Content-Type: text/html; charset=unicode-1-1-utf-7",
    "",
    "+ADw-script+AD4-",
  );
  assert.doesNotMatch(message.subject + message.html, /<script/);
});
