import { until } from "../support/until.ts";
import type { ComposeModel } from "./compose-model.ts";
import type { Container, Engine } from "./engine.ts";

export interface Known {
  service: string;
  number: number;
  /** undefined: it is stopped. */
  running: Container | undefined;
  /** Its image was built again since it began. */
  obsolete: boolean;
}

/**
 * The containers of a compose file, those that are stopped too. They get the numbers that Docker Compose gives them (its
 * pkg/compose/reconcile.go): a new one the highest and one more, and who takes another's place has its number.
 */
export class Project {
  readonly model: ComposeModel;
  readonly engine: Engine;
  private readonly containers = new Map<string, Known>();

  constructor(model: ComposeModel, engine: Engine) {
    this.model = model;
    this.engine = engine;
  }

  /** Those of a service, or all, in the order of their numbers. */
  containersOf(service?: string): Known[] {
    return [...this.containers.values()]
      .filter((each) => service === undefined || each.service === service)
      .sort((one, other) => one.number - other.number);
  }

  /** @throws when there is none of this name */
  byName(name: string): Known {
    const known = this.containers.get(name);
    if (!known) throw new Error(`No such container: ${name}`);
    return known;
  }

  /** Services without a profile, and those of .env's. */
  wanted(): string[] {
    const { services } = this.model;
    return Object.keys(services).filter((name) => services[name]?.profiles?.includes("haproxy") ?? true);
  }

  /**
   * As many containers as are asked for, and none of them obsolete.
   * @param replaceObsolete false: those that are stay
   */
  async converge(service: string, count: number, replaceObsolete: boolean): Promise<void> {
    if (this.model.services[service]?.restart === "no") {
      const { status, stderr } = await this.engine.runOnce(service);
      if (status !== 0) throw new Error(`${service}: ${stderr}`);
      return;
    }
    const there = this.containersOf(service);
    for (const each of there.slice(count)) {
      await this.stop(each);
      this.remove(each);
    }
    const next = Math.max(0, ...there.map(({ number }) => number)) + 1;
    const missing = Array.from({ length: Math.max(0, count - there.length) }, (_, i) => next + i);
    await together([
      ...there.slice(0, count).map(async (each) => {
        if (!each.obsolete || !replaceObsolete) return;
        await this.stop(each);
        await this.start(each);
      }),
      ...missing.map((number) => this.start({ service, number, running: undefined, obsolete: false })),
    ]);
  }

  /** Starts one that does not run, and waits until its health check says that it is well, if it has one. */
  async start(known: Known): Promise<void> {
    if (known.running) return;
    this.containers.set(nameOf(known), known);
    const container = await this.engine.start(known.service, known.number);
    Object.assign(known, { running: container, obsolete: false });
    if (this.model.services[known.service]?.healthcheck) await until(() => container.isHealthy());
  }

  async stop(known: Known): Promise<void> {
    const { running } = known;
    known.running = undefined;
    await running?.stop();
  }

  remove(known: Known): void {
    if (known.running) throw new Error(`${nameOf(known)} runs`);
    this.containers.delete(nameOf(known));
  }

  /** Stops those of some services, or of all: who depends on another one first, and at once who does not. */
  async stopAll(services: readonly string[] = Object.keys(this.model.services)): Promise<void> {
    await ordered(
      services,
      (service) => this.dependents(service),
      async (service) => {
        await together(this.containersOf(service).map((each) => this.stop(each)));
      },
    );
  }

  /** Does it with every service after those that it depends on. */
  async inOrder(services: readonly string[], act: (service: string) => Promise<void>): Promise<void> {
    await ordered(services, (service) => Object.keys(this.model.services[service]?.depends_on ?? {}), act);
  }

  private dependents(service: string): string[] {
    const all = Object.entries(this.model.services);
    return all.flatMap(([name, { depends_on = {} }]) => (service in depends_on ? [name] : []));
  }
}

async function ordered(
  services: readonly string[],
  earlier: (service: string) => string[],
  act: (service: string) => Promise<void>,
): Promise<void> {
  const begun = new Map<string, Promise<void>>();
  const begin = (service: string): Promise<void> => {
    const before = earlier(service).filter((each) => services.includes(each));
    const done = begun.get(service) ?? together(before.map(begin)).then(() => act(service));
    begun.set(service, done);
    return done;
  };
  await together(services.map(begin));
}

function nameOf({ service, number }: Known): string {
  return `millrace-${service}-${number}`;
}

/** All of them; where one fails, not before the others have come to their end too. */
export async function together<T>(promises: Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(promises);
  return Promise.all(promises);
}
