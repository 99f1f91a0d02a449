import { createInterface } from "node:readline";
import { prettyFactory } from "pino-pretty";
import { z } from "zod";
import { colour, printable, printableLines } from "../terminal.ts";
import { clock, shortId } from "./step-line.ts";

/** The parts of a log line that decide how it is shown. */
const lineSchema = z.looseObject({
  level: z.number(),
  time: z.union([z.string(), z.number()]),
  name: z.string().optional(),
  msg: z.string().optional(),
  /** Id of the message it is about. */
  message: z.string().optional(),
  /** Line of the worker's own code: `invoices.ts:12:7`. */
  at: z.string().optional(),
  err: z.looseObject({ stack: z.string() }).optional(),
});
export type LogLine = z.infer<typeof lineSchema>;

/** The fields a line begins with, and those that are the same in all lines. */
const shownAlready = "level,time,pid,hostname,name,message,worker,attempt,err";
const pretty = prettyFactory({
  // Colours come after whatever is in the line has been made safe to show.
  ...{ colorize: false, singleLine: true, ignore: shownAlready },
  errorLikeObjectKeys: [],
});

/** Calls with each line of a process: of its log as an object, and of what else it writes as text. */
export function readOutput(stream: NodeJS.ReadableStream, line: (line: LogLine | string) => void): void {
  createInterface({ input: stream }).on("line", (text) => line(readLine(text) ?? text));
}

function readLine(text: string): LogLine | undefined {
  if (!text.startsWith("{")) return undefined;
  try {
    return lineSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** A line of a log as people read it: time, message, level, words; then the fields, then the lines of an error. */
export function logLine(line: LogLine): string {
  const { err, ...rest } = line;
  const about = rest.message === undefined ? "" : `  ${colour.cyan(shortId(rest.message))}`;
  const text = printableLines(pretty(rest) ?? "").trim();
  const said = printableLines(rest.msg ?? "").trim();
  const body = text.startsWith(said) ? colour.cyan(said) + colour.dim(text.slice(said.length)) : text;
  const head = `${colour.dim(clock(new Date(line.time).getTime()))}${about}  ${level(line.level)}  ${body}`;
  return err ? `${head}\n${ownFrames(err.stack)}` : head;
}

/** What a process writes that is no log, made safe to show. */
export function plainLine(text: string): string {
  return printable(text);
}

function level(number: number): string {
  if (number >= 50) return colour.red(number >= 60 ? "fatal" : "error");
  if (number >= 40) return colour.yellow("warn");
  return number >= 30 ? colour.green("info") : colour.dim("debug");
}

/** An error's stack without the frames that are Node's or a package's, its files named from the working folder. */
function ownFrames(stack: string): string {
  return printableLines(stack)
    .split("\n")
    .filter((line) => !/^\s+at .*(?:\(|\s)(?:node:|.*\/node_modules\/)/.test(line))
    .map((line) => `    ${line.replaceAll("file://", "").replaceAll(`${process.cwd()}/`, "")}`)
    .join("\n");
}
