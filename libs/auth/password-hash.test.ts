import assert from "node:assert/strict";
import { test } from "node:test";
import { decoyOf, hashPassword, parseHash, verifyPassword } from "./password-hash.ts";

/** From the test vectors of the reference implementation, and from passlib's documentation. */
const known = {
  argon2id: "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
  scrypt: "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
};

for (const [name, text] of Object.entries(known)) {
  test(`${name}: a hash that others have made takes its password and no other`, async () => {
    const hash = parseHash(text);
    assert.equal(await verifyPassword(hash, "password"), true);
    assert.equal(await verifyPassword(hash, "Password"), false);
    assert.equal(await verifyPassword(hash, ""), false);
  });
}

test("our own hashes have OWASP's parameters and a salt each", async () => {
  const [one, other] = await Promise.all([hashPassword("päss wörd"), hashPassword("päss wörd")]);
  assert.match(one, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
  assert.notEqual(one, other);
  assert.equal(await verifyPassword(parseHash(one), "päss wörd"), true);
  assert.equal(await verifyPassword(parseHash(one), "pass word"), false);
});

test("a decoy costs what the other costs, and no password is right for it", async () => {
  const { salt, digest, ...parameters } = parseHash(known.argon2id);
  const decoy = decoyOf({ salt, digest, ...parameters } as ReturnType<typeof parseHash>);
  assert.deepEqual({ ...decoy, salt: 0, digest: 0 }, { ...parameters, salt: 0, digest: 0 });
  assert.equal(decoy.digest.length, digest.length);
  assert.equal(await verifyPassword(decoy, "password"), false);
  assert.equal(await verifyPassword(decoyOf(), "password"), false);
});

const unusable = {
  bcrypt: "$2y$05$abcdefghijklmnopqrstuuN0bK0vhh0R0Q0fJ2a3l5R9yqk6lZ8xS",
  MD5: "$apr1$salt$0123456789012345678901",
  "unsalted SHA": "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
  "a password": "password",
  argon2i: known.argon2id.replace("argon2id", "argon2i"),
  "an old version": known.argon2id.replace("v=19", "v=16"),
  "no passes": known.argon2id.replace("t=2", "t=0"),
  "a gigabyte": known.argon2id.replace("m=65536", "m=1048576"),
  "scrypt with a gigabyte": known.scrypt.replace("ln=16", "ln=20"),
  "no digest": "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$",
};

for (const [name, text] of Object.entries(unusable)) {
  test(`a hash that is ${name} is refused`, () => {
    assert.throws(() => parseHash(text), /it must be \$argon2id\$/);
  });
}
