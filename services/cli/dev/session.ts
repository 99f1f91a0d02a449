import { dirname } from "node:path";
import type { JournalEntry } from "@millrace/mail";
import { openPipeline } from "@millrace/pipeline/runtime";
import { type Config, createLogger } from "@millrace/service";
import { runDevWorker } from "./dev-worker.ts";
import { followJournal, subjectsOf } from "./follow-journal.ts";
import { watchFiles } from "./watch-files.ts";
import { shownPath } from "./worker-files.ts";
import { workerNews } from "./worker-news.ts";

/** The workers at work, their files watched and every step told. */
export interface Session {
  /** The workers' names, once each has been at work or could not be; undefined for those. */
  names: Promise<(string | undefined)[]>;
  stop(): Promise<void>;
}

export interface SessionOptions {
  config: Config;
  /** Absolute. */
  files: readonly string[];
  /** Of the workers' processes, beside our own environment. */
  env: Record<string, string>;
  heapMb: number;
  /** Node's option, such as `--inspect=127.0.0.1:9229`. */
  inspect: string | undefined;
  /** Writes lines for people. */
  write: (text: string) => void;
  say: (text: string) => void;
  /** Told of each step of each message, with its subject where that is known. */
  step: (entry: JournalEntry, subject: string | undefined) => void;
}

/** Names of files beside a worker that change what it does. */
const settingsFile = /^(?:millrace\.config\.(?:ts|yaml|yml|json)|\.env(?:\..*)?|package\.json)$/;

/** Starts the workers of a running pipeline, and starts each anew when something it is made of is saved. */
export async function startSession(options: SessionOptions): Promise<Session> {
  const { config, files, env, heapMb, inspect, write, say } = options;
  const pipeline = await openPipeline(config, createLogger("dev", "silent"));
  const subject = subjectsOf(pipeline);
  const stopFollowing = await followJournal(config, async (entry) =>
    options.step(entry, await subject(entry.message).catch(() => undefined)),
  );

  /** The files each worker is made of, as its processes have told. */
  const parts = new Map<string, Set<string>>(files.map((file) => [file, new Set([file])]));
  const watch = watchFiles((saved) => {
    const concerned = workers.filter(({ file }) => parts.get(file)?.has(saved));
    const all = concerned.length === 0 || saved === config.file;
    say(`saved ${shownPath(saved)}`);
    for (const worker of all ? workers : concerned) worker.restart();
  });
  watch.add(files);
  for (const folder of new Set([config.root, ...files.map(dirname)]))
    watch.addNames(folder, (name) => settingsFile.test(name));
  if (config.file) watch.add([config.file]);

  const known: Promise<string | undefined>[] = [];
  const workers = files.map((file) => {
    const first = Promise.withResolvers<string | undefined>();
    known.push(first.promise);
    const news = workerNews(file, {
      ...{ pipeline, subject, write, heapMb },
      imports(found) {
        for (const each of found) parts.get(file)?.add(each);
        watch.add(found);
      },
    });
    const worker = runDevWorker(
      file,
      { env, heapMb, inspect },
      {
        ...news,
        live(name, ms) {
          first.resolve(name);
          news.live(name, ms);
        },
        async ended(end) {
          await news.ended(end);
          if (end.why === "unloadable") first.resolve(undefined);
        },
      },
    );
    worker.restart();
    return worker;
  });

  return {
    names: Promise.all(known),
    async stop() {
      watch.close();
      await Promise.all(workers.map((worker) => worker.stop()));
      await stopFollowing();
      await pipeline.close();
    },
  };
}
