/** Loads an engine: the runtime's own zstd, or a WebAssembly one if there is none. */

import { type Engine, LEVEL, type ZstdEngineName } from "./engine.ts";
import { readHeader, ZstdError } from "./frame.ts";

/**
 * Loads an engine; until then nothing of it is.
 *
 * @param name By default native if the runtime has it.
 * @throws {ZstdError} if the native one is wanted and the runtime has none.
 */
export async function openEngine(name?: ZstdEngineName): Promise<Engine> {
  if (name !== "wasm") {
    const { openNative } = await import("./native.ts");
    const native = openNative();
    if (native && describesFrames(native)) return native;
    if (name === "native") {
      throw new ZstdError("this Deno has no zstd of its own: use the engine 'wasm', or update Deno");
    }
  }
  const { openWasm } = await import("./wasm.ts");
  return await openWasm();
}

/** Older runtimes may ignore unknown options, and then leave out the size or the checksum. */
function describesFrames(engine: Engine): boolean {
  try {
    const header = readHeader(engine.compress(new Uint8Array(1), LEVEL), true);
    return header?.contentSize === 1 && header.hasChecksum;
  } catch {
    return false;
  }
}
