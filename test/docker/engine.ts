import { type ChildProcess, execFile, spawn } from "node:child_process";
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { until } from "../support/until.ts";
import { type ComposeModel, type Service, secondsOf } from "./compose-model.ts";
import type { Image } from "./image.ts";
import { Networks, type Place } from "./networks.ts";
import { officialImages, officialOwners, officialStopSignals } from "./official-images.ts";
import { emptyLayer, inside } from "./root-folder.ts";

const run = promisify(execFile);

export interface Container {
  name: string;
  pid: number;
  /** In a network. */
  address(network: string): string;
  output(): string;
  isHealthy(): Promise<boolean>;
  /** Ends it as `docker stop` does. @throws when it would have been killed after its stop_grace_period */
  stop(): Promise<void>;
  signal(signal: NodeJS.Signals): void;
}

/**
 * Stands in for an engine: runs a compose file's services as processes, each with a root folder, a network namespace and
 * a name server of its own, and with what the file says of user, capabilities, read-only root, mounts and networks.
 * It is no container: processes and their numbers are this machine's.
 */
export class Engine {
  private readonly model: ComposeModel;
  private readonly built: (service: string) => Image;
  /** Files of containers; not on the file system of /. */
  private readonly layers: string;
  private readonly folder: string;
  private readonly networks: Networks;
  private readonly running = new Map<string, { child: ChildProcess; place: Place }>();
  private readonly clients: Place[] = [];

  /** @param built images of services that have `build` */
  constructor(
    model: ComposeModel,
    options: { built: (service: string) => Image; layers: string; folder: string },
  ) {
    this.model = model;
    this.built = options.built;
    this.layers = options.layers;
    this.folder = options.folder;
    this.networks = new Networks(model, options.folder);
  }

  /** Runs a service to its end; with `words` in place of its command. */
  async runOnce(name: string, words?: string[]): Promise<{ stdout: string; stderr: string; status: number }> {
    const service = this.service(name);
    const place = await this.networks.place([], Object.keys(service.networks ?? {}));
    try {
      const [program, ...rest] = this.command(name, place, words);
      const { stdout, stderr } = await run(program, rest, { maxBuffer: 64 * 1024 * 1024 });
      return { stdout, stderr, status: 0 };
    } catch (error) {
      const {
        stdout = "",
        stderr = String(error),
        code,
      } = error as { stdout?: string; stderr?: string; code: number };
      return { stdout, stderr, status: code };
    } finally {
      await place.remove();
    }
  }

  async start(name: string, number = 1): Promise<Container> {
    const service = this.service(name);
    const containerName = `millrace-${name}-${number}`;
    const place = await this.networks.place([name, containerName], Object.keys(service.networks ?? {}));
    const [program, ...words] = this.command(name, place);
    // A file for each: what programs open as /dev/stdout must not be a socket, as pipes of Node's are.
    const log = join(this.folder, `${containerName}.log`);
    const output = openSync(log, "a");
    chmodSync(log, 0o666);
    const child = spawn(program, words, { stdio: ["ignore", output, output] });
    closeSync(output);
    const said = () => readFileSync(log, "utf8");
    this.running.set(containerName, { child, place });
    const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
    return {
      name: containerName,
      pid: child.pid as number,
      address: (network) => place.addresses.get(network) as string,
      output: said,
      signal: (signal) => void child.kill(signal),
      isHealthy: async () => {
        if (hasEnded()) throw new Error(`${containerName} has ended (${child.exitCode}): ${said()}`);
        return this.isHealthy(name, child.pid as number);
      },
      stop: async () => {
        const official = officialStopSignals[service.image.split(":")[0] as string];
        child.kill((service.stop_signal ?? official ?? "SIGTERM") as NodeJS.Signals);
        await until(hasEnded, secondsOf(service.stop_grace_period ?? "10s") * 1_000);
        this.running.delete(containerName);
        await place.remove();
      },
    };
  }

  /** A place outside from which clients come, in a network: words that run a command there. */
  async client(network: string): Promise<Place> {
    const place = await this.networks.place([], [network]);
    this.clients.push(place);
    return place;
  }

  /** Ends all that still runs, at once. */
  async remove(): Promise<void> {
    for (const { child } of this.running.values()) if (child.exitCode === null) child.kill("SIGKILL");
    for (const { child, place } of this.running.values()) {
      await until(() => child.exitCode !== null || child.signalCode !== null);
      await place.remove();
    }
    for (const client of this.clients) await client.remove();
    this.networks.remove();
  }

  volumeFolder(name: string): string {
    return join(this.folder, "volumes", name);
  }

  private service(name: string): Service {
    const service = this.model.services[name];
    if (!service) throw new Error(`compose.yaml has no service ${name}`);
    return service;
  }

  private imageOf(name: string): Image {
    const { build, image } = this.service(name);
    return build ? this.built(name) : (officialImages[image.split(":")[0] as string] as Image);
  }

  private command(name: string, place: Place, words?: string[]): [string, ...string[]] {
    const service = this.service(name);
    const image = this.imageOf(name);
    const command = words ?? (service.command ? ["sh", "-c", `exec ${service.command}`] : undefined);
    const start = service.entrypoint ?? image.entrypoint;
    const all = [...start, ...(command ?? (service.entrypoint ? [] : image.cmd))];
    const binds = [
      { source: this.resolverFile(), target: "/etc/resolv.conf", readOnly: true },
      ...(service.volumes ?? []).map(({ source, target, read_only = false }) => ({
        ...{ source: this.volume(source, target, name), target, readOnly: read_only },
      })),
      ...(service.configs ?? []).map(({ source, target }) => ({
        ...{ source: this.model.configs[source]?.file as string, target, readOnly: true },
      })),
    ];
    const tmpfs = (service.tmpfs ?? []).map((each) => {
      const [target = "", options = ""] = each.split(":");
      return { target, options };
    });
    const options = {
      layers: [...image.layers, emptyLayer(this.layers)],
      env: { ...image.env, ...service.environment },
      workdir: image.workdir,
      user: userOf(service, image),
      readOnly: service.read_only ?? false,
      ...{ binds, tmpfs },
    };
    const [program, ...rest] = inside(options, all);
    return [place.enter[0], ...place.enter.slice(1), program, ...rest];
  }

  /** Runs a service's health check where its process is. */
  private async isHealthy(name: string, pid: number): Promise<boolean> {
    const service = this.service(name);
    const [kind, ...test] = service.healthcheck?.test ?? [];
    const words = kind === "CMD-SHELL" ? ["sh", "-c", test.join(" ")] : test;
    const image = this.imageOf(name);
    const env = Object.entries({ ...image.env, ...service.environment }).map((each) => each.join("="));
    const enter = ["--target", String(pid), "--net", "--mount", "--root", "--wd"];
    try {
      await run("nsenter", [...enter, "env", "-i", ...env, ...words], { timeout: 20_000 });
      return true;
    } catch {
      return false;
    }
  }

  private resolverFile(): string {
    const file = join(this.folder, "resolv.conf");
    if (!existsSync(file)) writeFileSync(file, "nameserver 127.0.0.11\n");
    return file;
  }

  /** A named volume's folder: when new, it belongs to whom the folder in the image belongs to. */
  private volume(source: string, target: string, service: string): string {
    if (source.startsWith("/")) return source;
    const folder = this.volumeFolder(source);
    if (existsSync(folder)) return folder;
    mkdirSync(folder, { recursive: true });
    const image = this.imageOf(service);
    const name = this.service(service).image.split(":")[0] as string;
    const inImage = image.layers.map((layer) => join(layer, target)).findLast((path) => existsSync(path));
    const [uid = 0, gid = 0] = officialOwners[name]?.[target]?.split(":").map(Number) ?? [];
    const owner = inImage ? statSync(inImage) : { uid, gid };
    chownSync(folder, owner.uid, owner.gid);
    return folder;
  }
}

function userOf(service: Service, image: Image): { uid: number; gid: number; groups: number[] } {
  const [uid = 0, gid = 0] = (service.user ?? image.user).split(":").map(Number);
  return { uid, gid, groups: (service.group_add ?? []).map(Number) };
}
