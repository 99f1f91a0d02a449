import { argon2, randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";

/** A password's digest with all that is needed to compute it again. */
export type PasswordHash = { salt: Buffer; digest: Buffer } & (
  | { algorithm: "argon2id"; memory: number; passes: number; parallelism: number }
  | { algorithm: "scrypt"; cost: number; blockSize: number; parallelism: number }
);

/** OWASP's Password Storage Cheat Sheet: 19 MiB, two passes, one lane. */
const present = { memory: 19_456, passes: 2, parallelism: 1 } as const;
const saltOctets = 16;
const digestOctets = 32;

/** What one verification may cost at most: a line in a file must not bring the edge down. */
const mostKib = 262_144;
const mostPasses = 20;
const mostLanes = 16;

const argon2id = promisify(argon2).bind(undefined, "argon2id");
const scryptOf = promisify<
  string,
  Buffer,
  number,
  { N: number; r: number; p: number; maxmem: number },
  Buffer
>(scrypt);

/** Hashes a password with argon2id (RFC 9106) and a salt of its own; about 50 ms of another thread. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(saltOctets);
  const hash = { algorithm: "argon2id", ...present, salt, digest: Buffer.alloc(digestOctets) } as const;
  return writtenHash({ ...hash, digest: await digestOf(hash, password) });
}

/** Whether this is the password, in a time that depends on the hash's parameters alone. */
export async function verifyPassword(hash: PasswordHash, password: string): Promise<boolean> {
  return timingSafeEqual(await digestOf(hash, password), hash.digest);
}

/** A hash that no password has, and that costs what `like` costs: verified where there is no such user. */
export function decoyOf(like?: PasswordHash): PasswordHash {
  const hash = like ?? {
    algorithm: "argon2id",
    ...present,
    salt: { length: saltOctets },
    digest: { length: digestOctets },
  };
  return {
    ...hash,
    salt: randomBytes(hash.salt.length),
    digest: randomBytes(hash.digest.length),
  } as PasswordHash;
}

/**
 * Reads a hash in PHC's string format: `$argon2id$v=19$m=19456,t=2,p=1$salt$digest` (what this makes, and `argon2`,
 * Dovecot and most libraries do) or `$scrypt$ln=15,r=8,p=1$salt$digest`.
 * @throws Error that says which formats there are
 */
export function parseHash(text: string): PasswordHash {
  const argon =
    /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$/.exec(
      text,
    );
  if (argon) {
    const [memory, passes, parallelism] = argon.slice(1, 4).map(Number) as [number, number, number];
    const lanes = parallelism >= 1 && parallelism <= mostLanes && memory >= 8 * parallelism;
    if (lanes && memory <= mostKib && passes >= 1 && passes <= mostPasses)
      return { algorithm: "argon2id", memory, passes, parallelism, ...saltAndDigest(argon[4], argon[5]) };
  }
  const scrypted =
    /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$/.exec(
      text,
    );
  if (scrypted) {
    const [logarithm, blockSize, parallelism] = scrypted.slice(1, 4).map(Number) as [number, number, number];
    const kib = (2 ** logarithm * blockSize) / 8;
    if (logarithm >= 1 && blockSize >= 1 && parallelism >= 1 && parallelism <= mostLanes && kib <= mostKib)
      return {
        ...{ algorithm: "scrypt", cost: 2 ** logarithm, blockSize, parallelism },
        ...saltAndDigest(scrypted[4], scrypted[5]),
      };
  }
  throw new Error(
    `it must be $argon2id$v=19$m=…,t=…,p=…$salt$digest or $scrypt$ln=…,r=…,p=…$salt$digest, with ${mostKib / 1_024} MiB at most (bcrypt, MD5, SHA and crypt are not read; \`millrace user hash\` makes one)`,
  );
}

function writtenHash(hash: Extract<PasswordHash, { algorithm: "argon2id" }>): string {
  const { memory, passes, parallelism, salt, digest } = hash;
  return `$argon2id$v=19$m=${memory},t=${passes},p=${parallelism}$${base64(salt)}$${base64(digest)}`;
}

function digestOf(hash: PasswordHash, password: string): Promise<Buffer> {
  const { salt, digest, parallelism } = hash;
  if (hash.algorithm === "argon2id") {
    const { memory, passes } = hash;
    return argon2id({
      message: password,
      nonce: salt,
      tagLength: digest.length,
      memory,
      passes,
      parallelism,
    });
  }
  const { cost, blockSize } = hash;
  // What OpenSSL counts is a little more than 128 N r.
  const maxmem = 256 * blockSize * (cost + parallelism);
  return scryptOf(password, salt, digest.length, { N: cost, r: blockSize, p: parallelism, maxmem });
}

function saltAndDigest(salt = "", digest = ""): { salt: Buffer; digest: Buffer } {
  return { salt: Buffer.from(salt, "base64"), digest: Buffer.from(digest, "base64") };
}

function base64(octets: Buffer): string {
  return octets.toString("base64").replace(/=+$/, "");
}
