import { connect } from "node:net";
import { text } from "node:stream/consumers";

/** A server as HAProxy sees it. */
export interface HaproxyServer {
  backend: string;
  name: string;
  /** "UP", "DOWN", "DRAIN", or one of these with how many checks are left. */
  status: string;
  /** Sessions it has now. */
  sessions: number;
}

/** Has HAProxy do what its stats socket is told; resolves with the answer. */
export async function tellHaproxy(socket: string, command: string): Promise<string> {
  const connection = connect(socket);
  connection.end(`${command}\n`);
  return (await text(connection)).trim();
}

export async function haproxyServers(socket: string): Promise<HaproxyServer[]> {
  // Of proxies: all; of kinds: servers.
  const [head = "", ...lines] = (await tellHaproxy(socket, "show stat -1 4 -1")).split("\n");
  const columns = head.replace(/^# /, "").split(",");
  const at = (line: string, column: string) => line.split(",")[columns.indexOf(column)] ?? "";
  return lines.map((line) => ({
    backend: at(line, "pxname"),
    name: at(line, "svname"),
    status: at(line, "status"),
    sessions: Number(at(line, "scur")),
  }));
}
