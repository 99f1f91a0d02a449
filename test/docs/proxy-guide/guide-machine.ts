import assert from "node:assert/strict";
import { OwnMachine, type Said } from "../../support/own-machine.ts";
import { until } from "../../support/until.ts";
import type { Block } from "./blocks.ts";

/** What the guide's machine has of the world outside: an ACME authority in Let's Encrypt's stead, which all trust. */
const pebble = `
mkdir /root/pebble && cd /root/pebble
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost \\
  -keyout key.pem -out cert.pem 2> /dev/null
cat > pebble.json << 'END'
{ "pebble": { "listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000",
  "certificate": "cert.pem", "privateKey": "key.pem", "httpPort": 80, "tlsPort": 443 } }
END
systemd-run --quiet --unit names pebble-challtestsrv -defaultIPv4 127.0.0.1 -defaultIPv6 "" -dns01 127.0.0.1:8053 \\
  -http01 "" -https01 "" -tlsalpn01 "" -management 127.0.0.1:8055
systemd-run --quiet --unit authority --working-directory /root/pebble --setenv PEBBLE_VA_NOSLEEP=1 \\
  --setenv PEBBLE_WFE_NONCEREJECT=0 pebble -config pebble.json -dnsserver 127.0.0.1:8053
cp cert.pem /usr/local/share/ca-certificates/authority.crt
curl -fsSk --retry 30 --retry-connrefused --retry-delay 1 https://127.0.0.1:15000/roots/0 \\
  > /usr/local/share/ca-certificates/issued.crt
update-ca-certificates > /dev/null
mkdir -p /etc/letsencrypt
# Without a terminal certbot waits for minutes, so that not all of its users come at once.
printf '%s\\n' 'server = https://localhost:14000/dir' 'no-random-sleep-on-renew = true' > /etc/letsencrypt/cli.ini
`;

/** Where Caddy is sent, which does not read certbot's settings. */
export const acmeOptions =
  "--acme https://localhost:14000/dir --acme-root /usr/local/share/ca-certificates/authority.crt";

/** The machine on which the guide's scripts are run. */
export class GuideMachine {
  private readonly machine: OwnMachine;
  private readonly blocks: readonly Block[];

  private constructor(machine: OwnMachine, blocks: readonly Block[]) {
    this.machine = machine;
    this.blocks = blocks;
  }

  static async boot(blocks: readonly Block[]): Promise<GuideMachine> {
    const machine = await OwnMachine.boot("mail.example.com");
    try {
      await machine.ran(pebble);
      return new GuideMachine(machine, blocks);
    } catch (error) {
      await machine.remove();
      throw error;
    }
  }

  remove(): Promise<void> {
    return this.machine.remove();
  }

  /** A script of the guide, by its name. */
  scriptOf(name: string): string {
    return this.blocks.find((block) => block.name === name)?.text ?? "";
  }

  run(script: string): Promise<Said> {
    return this.machine.run(script);
  }

  /** @throws with all that it said, when its status is not 0 */
  ran(script: string): Promise<string> {
    return this.machine.ran(script);
  }

  /** As `ran`, in a shell of the guide's `settings`. */
  told(script: string): Promise<string> {
    return this.ran(this.withSettings(script));
  }

  withSettings(script: string): string {
    return `${this.scriptOf("settings")}${script}`;
  }

  /** Starts a script that does not end, and waits until it says that it is ready. */
  async started(unit: string, script: string): Promise<void> {
    const how = `--quiet --unit ${unit} --working-directory /opt/millrace --property TimeoutStopSec=30`;
    await this.ran(`systemd-run ${how} sh -ec '${script}'`);
    await until(async () => {
      const said = await this.ran(`journalctl --no-pager --output cat --unit ${unit}`);
      if ((await this.ran(`systemctl is-active ${unit} || true`)).trim() !== "active") assert.fail(said);
      return said.includes("Ctrl-C");
    });
  }

  /** Delivers through both ports of the proxy from an address of its own, and wants to find that in the journal. */
  async deliversThroughBoth(from: string): Promise<void> {
    const words = `--to you@example.com --local-interface ${from} --tls-verify --timeout 10`;
    for (const way of [
      "--server mail.example.com:465 --tls-on-connect",
      "--server mail.example.com:587 --tls",
    ]) {
      let said = "";
      // Right after a start it may be that the proxy has found no edge yet.
      await until(async () => {
        const { text, status } = await this.run(`swaks ${words} ${way}`);
        said = text;
        return status === 0;
      });
      const id = /queued as (\S+)/.exec(said)?.[1] ?? assert.fail(said);
      await until(async () =>
        (await this.told(`millrace trace ${id} --json`)).includes(`"client": "${from}"`),
      );
    }
  }

  /** Waits until HAProxy sends mail to each of the three edges. */
  async allEdgesUp(): Promise<void> {
    const state = "echo 'show stat' | socat - /run/haproxy/admin.sock | grep '^edges,edges' | cut -d, -f18";
    await until(async () => (await this.ran(state)).trim() === "UP\nUP\nUP");
  }
}
