/** Opens the registry of an image. */

import { findLogin } from "../oci/login.ts";
import type { Reference } from "../oci/reference.ts";
import { Registry } from "../oci/registry.ts";
import { findNetwork } from "../release/network.ts";
import type { Emulator } from "../instance/emulator.ts";

/** The reference's repository, to read or also to write, with the login that `docker login` has left unless the emulator has one. */
export async function openRegistry(emulator: Emulator, reference: Reference, writes = false): Promise<Registry> {
  const { signal, login: given, network: known } = emulator;
  const login = given === undefined ? await findLogin(reference, signal) : given;
  return new Registry(reference, { writes, signal, network: known ?? await findNetwork(), ...(login && { login }) });
}
