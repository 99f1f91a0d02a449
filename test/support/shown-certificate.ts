import { once } from "node:events";
import { connect, type TLSSocket } from "node:tls";

/** An SMTP session over TLS from the first octet on, and the serial number of the certificate that it was shown. */
export interface ShownCertificate {
  socket: TLSSocket;
  serial: string;
}

/** @param name of the server that is asked for (SNI); whether it is trusted is not looked at */
export async function shownCertificate(port: number, name: string): Promise<ShownCertificate> {
  const socket = connect({ port, host: "127.0.0.1", servername: name, rejectUnauthorized: false });
  await once(socket, "secureConnect");
  await once(socket, "data");
  return { socket, serial: socket.getPeerCertificate().serialNumber };
}

/** The reply to NOOP: whether the session is still there. */
export async function noop(socket: TLSSocket): Promise<string> {
  socket.write("NOOP\r\n");
  return String((await once(socket, "data"))[0]);
}
