/**
 * Lets `@sigstore/verify` check signatures on this runtime. The library leaves it to `verify` of `node:crypto` to choose the
 * digest that it does not name. Node takes SHA-256; Deno, up to 2.9, throws “no default digest”, and the library then says
 * that the signature is wrong. So the digest is named here, for the library alone.
 *
 * Source: Sigstore's documentation, "Client specification": signatures of ECDSA and RSA keys are over SHA-256 there.
 */

import type { KeyObject } from "node:crypto";
import core from "@sigstore/core";

type Crypto = typeof core.crypto;

/** The library looks up `crypto` of this object at each call. */
const library = core as { crypto: Crypto };
const { verify } = library.crypto;

library.crypto = {
  ...library.crypto,
  verify: (data, key, signature, algorithm) =>
    // An Ed25519 signature is over the data itself.
    verify(
      data,
      key,
      signature,
      algorithm ?? ((key as KeyObject).asymmetricKeyType === "ed25519" ? undefined : "sha256"),
    ),
};
