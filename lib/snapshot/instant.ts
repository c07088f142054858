/**
 * The `instant` engine: the guest's RAM is a file from the start, so only device state is moved.
 *
 * With the capability `x-ignore-shared` QEMU leaves RAM out of a migration where it is shared memory. State goes
 * over a unix socket, which every QEMU can (`file:` needs 8.2) and our seccomp flags allow (`exec:` they do not).
 *
 * Source: QEMU's documentation, "VM templating" (docs/system/vm-templating.rst).
 */

import { HotbootError } from "../error.ts";
import type { QmpClient, QmpEvent } from "../vm/qmp.ts";
import { type WaitOptions, within } from "../wait.ts";

const TIMEOUT_MS = 30_000;

/**
 * Saves the device state of a stopped machine, whose RAM must be a `shared` file, to a new file.
 *
 * Afterwards the machine must not run on: it would write into the RAM that was just captured.
 *
 * @param socketPath A free path for a socket.
 * @throws {HotbootError} with QEMU's reason when it cannot be saved.
 */
export async function saveDeviceState(
  qmp: QmpClient,
  socketPath: string,
  statePath: string,
  options: WaitOptions = {},
): Promise<void> {
  const limits = { timeoutMs: TIMEOUT_MS, ...options };
  await prepare(qmp, limits);
  const ended = migrationEnd(qmp, "saving the device state", limits);
  await Deno.remove(socketPath).catch(() => {});
  using listener = Deno.listen({ transport: "unix", path: socketPath });
  const received = listener.accept().then(async (connection) => {
    const file = await Deno.open(statePath, { write: true, createNew: true, mode: 0o600 });
    await connection.readable.pipeTo(file.writable);
  });
  received.catch(() => {}); // when QEMU refuses, the listener is closed under it
  await qmp.execute("migrate", { uri: `unix:${socketPath}` }, limits);
  await requireCompleted(qmp, await ended);
  await within(received, "QEMU (device state)", limits);
}

/**
 * Loads device state into a machine that was started to wait for it. The machine is paused afterwards.
 *
 * @throws {HotbootError} when QEMU refuses it, or ends (then its own words are on its standard error).
 */
export async function loadDeviceState(
  qmp: QmpClient,
  socketPath: string,
  state: Uint8Array,
  options: WaitOptions = {},
): Promise<void> {
  const limits = { timeoutMs: TIMEOUT_MS, ...options };
  const ended = migrationEnd(qmp, "loading the device state", limits);
  // QEMU runs them in this order; there is no need to wait for the first one's answer before sending the second.
  await Promise.all([prepare(qmp, limits), qmp.execute("migrate-incoming", { uri: `unix:${socketPath}` }, limits)]);
  const sent = Deno.connect({ transport: "unix", path: socketPath }).then(async (connection) => {
    using _connection = connection; // QEMU reads until it is closed
    for (let at = 0; at < state.length;) at += await connection.write(state.subarray(at));
  });
  sent.catch(() => {}); // QEMU that stops reading has ended the migration, which says why
  await requireCompleted(qmp, await ended);
}

async function prepare(qmp: QmpClient, limits: WaitOptions): Promise<void> {
  const capabilities = ["x-ignore-shared", "events"].map((capability) => ({ capability, state: true }));
  await qmp.execute("migrate-set-capabilities", { capabilities }, limits);
}

function migrationEnd(qmp: QmpClient, what: string, limits: WaitOptions): Promise<QmpEvent> {
  return qmp.waitForEvent(
    ({ event, data }) => event === "MIGRATION" && (data.status === "completed" || data.status === "failed"),
    what,
    limits,
  );
}

async function requireCompleted(qmp: QmpClient, { data }: QmpEvent): Promise<void> {
  if (data.status === "completed") return;
  const info = await qmp.execute<{ "error-desc"?: string }>("query-migrate");
  throw new HotbootError(`QEMU could not migrate: ${info["error-desc"] ?? "it gave no reason"}`);
}
