/** What a sample is made with. */
export interface Making {
  /** Address of the header's From, and of the envelope. */
  from: string;
  /** Addresses of the header's To. */
  to: readonly string[];
  at: Date;
  /** Unique local part of its Message-ID. */
  id: string;
}

/** A mail to try a worker with. */
export interface Sample {
  name: string;
  /** One sentence: what it is, or what it is good for. */
  about: string;
  /** Reverse-path it goes out with unless somebody says otherwise; "" is that of a bounce. */
  from: string;
  /** Its octets, each as one character, with CRLF line ends. */
  build(making: Making): string;
}
