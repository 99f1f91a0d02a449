import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";

/** Whether this is an address, or a network such as 10.0.0.0/8. */
export function isCidr(text: string): boolean {
  const match = /^([^/%]+)(?:\/(\d{1,3}))?$/.exec(text);
  if (!match || !isIP(match[1] as string)) return false;
  return match[2] === undefined || Number(match[2]) <= (isIPv4(match[1] as string) ? 32 : 128);
}

/** The entries of a setting that has several, with commas between. */
export function cidrsIn(text: string): string[] {
  return text.split(",").map((each) => each.trim());
}

/** What is wrong with such a setting, in lines that name it, the value and the cure. */
export function cidrProblems(name: string, text: string | undefined): string[] {
  if (text === undefined) return [];
  return cidrsIn(text)
    .filter((each) => !isCidr(each))
    .map(
      (each) =>
        `${name}=${each} is not allowed: give addresses and networks with commas between, such as 127.0.0.1,10.0.0.0/8`,
    );
}

/** @param cidrs as {@link isCidr} allows them */
export function addressesOf(cidrs: readonly string[]): BlockList {
  const list = new BlockList();
  for (const cidr of cidrs) {
    const [address, prefix] = cidr.split("/") as [string, string?];
    const family = isIPv6(address) ? "ipv6" : "ipv4";
    if (prefix === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(prefix), family);
  }
  return list;
}

/** Whether an address is one of them. One of IPv4 is, however it is written. */
export function isListed(list: BlockList, address: string): boolean {
  return list.check(address, isIPv6(address) ? "ipv6" : "ipv4");
}
