import { isUtf8 } from "node:buffer";

/** Whether a command line has control characters, a NUL above all (RFC 5321 §4.1.2), or octets that are no UTF-8. */
export function malformed(command: Buffer): boolean {
  let ascii = true;
  for (let i = 0; i < command.length; i++) {
    const octet = command[i] as number;
    if ((octet < 0x20 && octet !== 0x09) || octet === 0x7f) return true;
    if (octet > 0x7f) ascii = false;
  }
  return !ascii && !isUtf8(command);
}

export function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false;
  return true;
}
