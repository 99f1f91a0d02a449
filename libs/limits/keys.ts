import { createHash } from "node:crypto";
import ipaddr from "ipaddr.js";

/** What a client counts as: its address, or of IPv6 the network of 64 bits that one customer usually has. */
export function clientKey(client: string): string {
  if (!ipaddr.isValid(client)) return client;
  const address = ipaddr.process(client);
  if (address.kind() === "ipv4") return address.toString();
  return address
    .toByteArray()
    .slice(0, 8)
    .map((octet) => octet.toString(16).padStart(2, "0"))
    .join("");
}

/** What a user counts as. Names are what anybody says, passwords by mistake among them: Redis has only their digest. */
export function userKey(name: string): string {
  return createHash("sha256").update(name.normalize("NFC").toLowerCase()).digest("base64url");
}
