import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { Installation } from "../support/millrace.ts";
import { SmtpDialogue } from "../support/smtp-dialogue.ts";

const readme = readFileSync(join(import.meta.dirname, "../../README.md"), "utf8");
const section = /^## Deciding at SMTP time\n(.*?)^## /ms.exec(readme)?.[1] ?? "";
const file = join(import.meta.dirname, "partners.ts");

describe("the README's policy", () => {
  const config = (/```yaml\n(.*?)```/s.exec(section)?.[1] ?? "").replace("./partners.ts", file);
  const millrace = new Installation();
  after(() => millrace.remove());
  const configure = (yaml: string) => writeFileSync(join(millrace.folder, "millrace.config.yaml"), yaml);

  test("stands there as it is tested", () => {
    const sample = `\`\`\`ts\n${readFileSync(file, "utf8")}\`\`\``;
    assert.ok(section.includes(sample), "README.md differs from test/docs/partners.ts");
  });

  test("is configured as it says, and its secret is not printed", async () => {
    configure(config);
    const { stdout, stderr, status } = await millrace.run(["config"], { POLICY_SECRET: "s3cret" });
    assert.equal(status, 0, stderr);
    assert.match(stdout.toString(), /partners\.ts/);
    assert.ok(!stdout.toString().includes("s3cret"));
  });

  test("does what it says, and trace shows its tag", { timeout: 180_000 }, async () => {
    // Without the one behind HTTP, which nobody answers for here.
    configure(config.slice(0, config.indexOf("  - http:")));
    await millrace.up();
    const client = await SmtpDialogue.greeted(millrace.port);
    await client.send("MAIL FROM:<ann@elsewhere.example>", "RCPT TO:<orders@example.com>");
    await client.expect("250 2.1.0 ");
    await client.expect("550 5.7.1 Orders are taken from partners only");
    await client.send("RSET", "MAIL FROM:<bob@partner.example>", "RCPT TO:<orders@example.com>", "DATA");
    for (const reply of ["250 2.0.0 ", "250 2.1.0 ", "250 2.1.5 ", "354 "]) await client.expect(reply);
    await client.send("List-Id: <news.partner.example>", "", "words", ".");
    const id = /queued as (\S+)$/.exec(await client.expect("250 2.0.0 "))?.[1] ?? "";
    client.destroy();
    const { stdout } = await millrace.run(["trace", id]);
    assert.match(stdout.toString(), /message\.received .*<bob@partner\.example>.*tags bulk/);
  });
});
