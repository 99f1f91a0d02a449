import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "../support/until.ts";
import type { ComposeModel } from "./compose-model.ts";

/** One container's place in the networks: a namespace of its own, with a name server on 127.0.0.11 as Docker has it. */
export interface Place {
  /** Words that run a command there. */
  enter: [string, ...string[]];
  addresses: Map<string, string>;
  remove(): Promise<void>;
}

interface Known {
  names: string[];
  addresses: Map<string, string>;
  hosts: string;
  nameServer: ChildProcess;
}

/** The networks of a compose file, in namespaces of this process's own: bridges, and DNS that follows who is there. */
export class Networks {
  private readonly prefix = `mr${process.pid}`;
  private readonly folder: string;
  private readonly subnets = new Map<string, string>();
  private readonly places = new Map<string, Known>();
  private created = 0;

  constructor(model: ComposeModel, folder: string) {
    this.folder = folder;
    ip("netns", "add", this.prefix);
    for (const [i, [name, network]] of Object.entries(model.networks).entries()) {
      const subnet = network.ipam?.config[0]?.subnet ?? `10.213.${100 + i}.0/24`;
      this.subnets.set(name, subnet.replace(/\.0\/24$/, ""));
      ip("-n", this.prefix, "link", "add", bridge(name), "type", "bridge");
      ip("-n", this.prefix, "link", "set", bridge(name), "up");
    }
  }

  /** @param names what others in the same networks find it by */
  async place(names: string[], networks: string[]): Promise<Place> {
    const number = ++this.created;
    const namespace = `${this.prefix}-${number}`;
    ip("netns", "add", namespace);
    ip("-n", namespace, "link", "set", "lo", "up");
    const addresses = new Map<string, string>();
    for (const [i, name] of networks.entries()) {
      const [here, there] = [`v${number}-${i}`, `eth${i}`];
      const address = `${this.subnets.get(name)}.${9 + number}`;
      ip(
        "link",
        "add",
        here,
        "netns",
        this.prefix,
        "type",
        "veth",
        "peer",
        "name",
        there,
        "netns",
        namespace,
      );
      ip("-n", this.prefix, "link", "set", here, "master", bridge(name), "up");
      ip("-n", namespace, "addr", "add", `${address}/24`, "dev", there);
      ip("-n", namespace, "link", "set", there, "up");
      addresses.set(name, address);
    }
    const enter: [string, ...string[]] = ["ip", "netns", "exec", namespace];
    const hosts = join(this.folder, `${namespace}.hosts`);
    writeFileSync(hosts, "");
    const nameServer = spawn(
      enter[0],
      [...enter.slice(1), "setpriv", "--pdeathsig=KILL", "dnsmasq", ...dnsmasq, `--addn-hosts=${hosts}`],
      {
        stdio: "ignore",
        env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
      },
    );
    await until(() => answers(enter));
    // Not before it answers: a signal that it does not wait for yet would end it.
    this.places.set(namespace, { names, addresses, hosts, nameServer });
    this.tell();
    return {
      enter,
      addresses,
      remove: async () => {
        this.places.delete(namespace);
        this.tell();
        await ended(nameServer);
        ip("netns", "delete", namespace);
      },
    };
  }

  /** Every name server learns who is there now: each knows whom its container shares a network with. */
  private tell(): void {
    for (const { addresses, hosts, nameServer } of this.places.values()) {
      const lines = [...this.places.values()].flatMap((other) =>
        [...other.addresses].flatMap(([network, address]) =>
          addresses.has(network) ? other.names.map((name) => `${address} ${name}\n`) : [],
        ),
      );
      writeFileSync(hosts, lines.join(""));
      nameServer.kill("SIGHUP");
    }
  }

  remove(): void {
    ip("netns", "delete", this.prefix);
  }
}

const dnsmasq = [
  ...["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=", "--pid-file="],
  ...["--bind-interfaces", "--listen-address=127.0.0.11", "--local-ttl=0"],
];

function ip(...words: string[]): void {
  execFileSync("ip", words, { stdio: ["ignore", "ignore", "pipe"] });
}

/** Names of interfaces have 15 letters at most. */
function bridge(network: string): string {
  return `br-${network}`;
}

function answers(enter: readonly string[]): boolean {
  try {
    const words = [...enter.slice(1), "bash", "-c", "exec 3<>/dev/tcp/127.0.0.11/53"];
    execFileSync(enter[0] as string, words, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await gone;
}
