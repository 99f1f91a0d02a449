import { lookup, resolveMx } from "node:dns/promises";
import { isIP } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { type Finding, failure, ok } from "../finding.ts";

/** The addresses of a host, as any program here would find them (/etc/hosts too). */
export async function checkDns(
  host: string,
  timeout: number,
): Promise<{ finding: Finding; addresses: string[] }> {
  const check = "dns";
  if (isIP(host)) return { finding: ok(check, `${host} is an address`), addresses: [host] };
  const late = sleep(timeout, undefined, { ref: false }).then(() => {
    throw Object.assign(new Error(`no answer within ${timeout / 1_000} s`), { code: "ETIMEOUT" });
  });
  late.catch(() => {});
  try {
    const found = await Promise.race([lookup(host, { all: true, order: "verbatim" }), late]);
    const addresses = [...new Set(found.map(({ address }) => address))];
    return { finding: ok(check, `${host} is ${addresses.join(", ")}`), addresses };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const servers = await mailServers(host, late);
    if (servers.length > 0)
      return {
        finding: failure(
          check,
          `${host} has no address; mail for it goes to ${servers.join(", ")} (MX)`,
          `Examine that one: millrace doctor ${servers[0]}`,
        ),
        addresses: [],
      };
    const unknown = code === "ENOTFOUND" || code === "ENODATA";
    return {
      finding: failure(
        check,
        unknown ? `${host} has no address` : `${host} could not be looked up: ${message}`,
        unknown
          ? `Add an A or AAAA record for ${host}, or correct the name.`
          : "The name server does not answer: see /etc/resolv.conf.",
      ),
      addresses: [],
    };
  }
}

async function mailServers(domain: string, late: Promise<never>): Promise<string[]> {
  try {
    const records = await Promise.race([resolveMx(domain), late]);
    return records
      .sort((one, other) => one.priority - other.priority)
      .map(({ exchange }) => exchange)
      .filter(Boolean);
  } catch {
    return [];
  }
}
