import { writeFileSync } from "node:fs";
import { get } from "node:https";
import { join } from "node:path";
import { certificate } from "./certificate.ts";
import { freePort } from "./free-port.ts";
import { startProxy } from "./proxy-process.ts";

/** An ACME authority on the loopback. Every name leads to 127.0.0.1. */
export interface Pebble {
  directory: string;
  /** File with the certificate of its own server, PEM. */
  serverRoot: string;
  /** The root of what it issues, PEM. */
  issuedRoot(): Promise<string>;
  stop(): Promise<void>;
}

/**
 * Starts one.
 *
 * @param folder for its files
 * @param ports where it looks for answers to its challenges: HTTP-01, TLS-ALPN-01
 * @param validity of its certificates, in seconds
 */
export async function startPebble(
  folder: string,
  ports: { http: number; tls: number },
  validity: number,
): Promise<Pebble> {
  const server = certificate(folder, "localhost");
  const [acme, management, dns, dnsManagement] = [
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
  ] as const;
  const file = join(folder, "pebble.json");
  const pebble = {
    listenAddress: `127.0.0.1:${acme}`,
    managementListenAddress: `127.0.0.1:${management}`,
    certificate: server.cert,
    privateKey: server.key,
    httpPort: ports.http,
    tlsPort: ports.tls,
    certificateValidityPeriod: validity,
  };
  writeFileSync(file, JSON.stringify({ pebble }));
  const names = await startProxy(
    [
      ...(["pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""] as const),
      ...["-dns01", `127.0.0.1:${dns}`, "-management", `127.0.0.1:${dnsManagement}`],
      ...["-http01", "", "-https01", "", "-tlsalpn01", ""],
    ],
    [dnsManagement],
  );
  try {
    // It would wait, and refuse now and then, to try its clients' patience.
    const env = { PEBBLE_VA_NOSLEEP: "1", PEBBLE_WFE_NONCEREJECT: "0" };
    const words = ["pebble", "-config", file, "-dnsserver", `127.0.0.1:${dns}`] as const;
    const authority = await startProxy([...words], [acme, management], env);
    return {
      directory: `https://localhost:${acme}/dir`,
      serverRoot: server.cert,
      issuedRoot: () => fetched(`https://127.0.0.1:${management}/roots/0`),
      async stop() {
        await authority.stop();
        await names.stop();
      },
    };
  } catch (error) {
    await names.stop();
    throw error;
  }
}

/** Over TLS with a certificate of the test's own, which says nothing. */
async function fetched(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get(url, { rejectUnauthorized: false }, (response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () => resolve(text));
    }).on("error", reject);
  });
}
