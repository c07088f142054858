/** Runs programs in the guest, with input, output, exit code and, if wanted, a terminal. */

import { HotbootError } from "../base/error.ts";
import type { Emulator } from "../instance/emulator.ts";
import { watchDisk } from "../instance/space.ts";
import { execOverAgent } from "./exec_agent.ts";
import type { ExecOptions } from "./exec_options.ts";
import { execOverPorts, NoPorts } from "./exec_ports.ts";

/**
 * Runs a program in the running guest and waits for its end. Input and output stream while it runs.
 *
 * Needs net permission for the instance's sockets, and read permission for the home. The guest needs a POSIX shell and
 * `setsid`; for a terminal `script` or `python3`; for another user `setpriv`, all but Python of util-linux.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @param options The program, its input, and where its output goes.
 * @returns The program's exit code; 128 + n if signal n ended it; 127 if there is no such program.
 * @throws {HotbootError} if the instance does not run, its agent does not answer, or it is stopped meanwhile.
 * @throws The reason of the emulator's signal, if it aborts. The program is ended, too.
 *
 * @example
 * ```ts
 * import { exec, openEmulator } from "@hotboot/hotboot";
 *
 * let version = "";
 * const code = await exec(await openEmulator(), {
 *   command: ["uname", "-r"],
 *   stdout: (bytes) => void (version += new TextDecoder().decode(bytes)),
 * });
 * console.log(code, version);
 * ```
 */
export async function exec(emulator: Emulator, options: ExecOptions): Promise<number> {
  if (options.command.length === 0) throw new HotbootError("there is no command to run in the guest: name a program");
  await using _watch = watchDisk(emulator);
  try {
    return await execOverPorts(emulator, options);
  } catch (error) {
    if (!(error instanceof NoPorts)) throw error;
    if (options.terminal) {
      throw new HotbootError(`a terminal in the guest is not possible: ${error.message}; leave out -t`);
    }
    emulator.report.detail(`the guest's agent passes the program's streams on: ${error.message}`);
    return await execOverAgent(emulator, options);
  }
}
