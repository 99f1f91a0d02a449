import assert from "node:assert/strict";
import { test } from "node:test";
import { logLine, plainLine } from "./worker-output.ts";

test("a log line is time, message, level, words and fields, and nothing in it reaches the terminal as a command", () => {
  const line = logLine({
    ...{
      level: 30,
      time: Date.now(),
      name: "worker",
      msg: "saved \u001b[2J",
      message: "01m83pn8ds0743y3q8ffbeh1sf",
    },
    file: "out/\u001b]0;x\u0007.pdf",
  });
  assert.match(line, /^\d\d:\d\d:\d\d\.\d{3} {2}ffbeh1sf {2}info {2}saved .*\{"file":"out\//);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that there are none is the point
  assert.doesNotMatch(line, /[\u0000-\u001f]/);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: as above
  assert.doesNotMatch(plainLine("a\u001b[1mb"), /[\u0000-\u001f]/);
});
