import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Installation, type Started } from "@millrace/test/millrace";
import { type Mail, sendAll } from "@millrace/test/sender";
import { until } from "@millrace/test/until";

/** A whole pipeline with an example in it, in a folder of its own. */
export class Running {
  readonly millrace: Installation;
  private readonly workers: Started[] = [];

  constructor(config: object) {
    this.millrace = new Installation({ config });
  }

  /** Starts the pipeline, then workers: files of this package. */
  async start(...files: string[]): Promise<void> {
    await this.millrace.up();
    await this.work(...files);
  }

  /** Starts workers in the place of those that run. */
  async work(...files: string[]): Promise<void> {
    await Promise.all(this.workers.splice(0).map((worker) => worker.stop()));
    for (const file of files) this.startWorker(file);
    await until(() =>
      this.workers.every((worker) => {
        if (/"level":(50|60)|millrace: /.test(worker.output())) throw new Error(worker.output());
        return worker.output().includes('"ready"');
      }),
    );
  }

  private startWorker(file: string): void {
    this.workers.push(this.millrace.start(["worker", resolve(import.meta.dirname, "..", file)]));
  }

  /** What the workers have logged. */
  logged(): string {
    return this.workers.map((worker) => worker.output()).join("");
  }

  async send(mail: Omit<Mail, "name">): Promise<string> {
    return (await sendAll(this.millrace.port, [{ name: "one", ...mail }])).get("one") as string;
  }

  /** The mail in a recipient's Maildir, as soon as it is there; the Maildirs are under `var/maildir`. */
  async delivered(recipient: string): Promise<string> {
    const folder = join(this.millrace.folder, "var/maildir", recipient, "new");
    await until(() => existsSync(folder) && readdirSync(folder).length > 0);
    return readFileSync(join(folder, readdirSync(folder)[0] as string), "latin1");
  }

  deliveredTo(recipient: string): number {
    const folder = join(this.millrace.folder, "var/maildir", recipient, "new");
    return existsSync(folder) ? readdirSync(folder).length : 0;
  }

  /** Waits until a message is in a state. */
  async reaches(id: string, state: string): Promise<void> {
    await until(async () => (await this.stateOf(id)) === state);
  }

  async stateOf(id: string): Promise<string | undefined> {
    const all = await this.millrace.json<{ id: string; state: string }[]>("messages", "list", "--all");
    return all.find((each) => each.id === id)?.state;
  }

  async stop(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.stop()));
    await this.millrace.remove();
  }
}
