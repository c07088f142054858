/**
 * Moves a machine's state out of QEMU and in again, over a unix socket that hotboot serves: every QEMU can do that (`file:`
 * needs 8.2) and our seccomp flags allow it (they forbid `exec:`).
 *
 * Source: QEMU's documentation, "Migration framework" (docs/devel/migration/main.rst) and "VM templating"
 * (docs/system/vm-templating.rst).
 */

import { HotbootError } from "../base/error.ts";
import { listenUnix } from "../vm/connect.ts";
import type { QmpClient, QmpEvent } from "../vm/qmp.ts";
import { sleep, type WaitOptions, within } from "../base/wait.ts";
import { pieces, type Source, writeAll } from "../base/io.ts";
import { steadyNow, steppedBy } from "../base/steady.ts";

/**
 * What to move: `devices` leaves out memory in a shared file (the capability `x-ignore-shared`), for the `instant` engine,
 * whose RAM is in its file already. `all` moves everything.
 */
export type What = "devices" | "all";

const TIMEOUT_MS = 30_000;
const STOP_MS = 10_000;
const STOOD_STILL_MS = 100;
/** RAM may take as long as its disk does; a machine without any progress is noticed elsewhere. */
export const RAM_TIMEOUT_MS = 600_000;
/** The migration states in which the machine cannot continue: MigrationStatus in QEMU's "QMP Reference Manual". */
const UNDER_WAY = new Set(["setup", "cancelling", "active", "pre-switchover", "device", "wait-unplug"]);
const [CANCEL_TRIES, CANCEL_PAUSE_MS] = [500, 20];
/** QEMU's default is 128 MiB/s, to spare a network. */
export const UNLIMITED = 2 ** 50;

/**
 * Stops a machine's CPUs. QEMU also completes and flushes all disk writes.
 *
 * @returns When, in milliseconds since 1970, by `steadyNow`; now, if they stood still already.
 */
export async function stopMachine(qmp: QmpClient): Promise<number> {
  const stopped = qmp.waitForEvent(({ event }) => event === "STOP", "QEMU ('stop')", { timeoutMs: STOP_MS });
  await qmp.execute("stop"); // answered after the event
  return await Promise.race([stopped.then(({ time }) => time - steppedBy()), sleep(STOOD_STILL_MS).then(steadyNow)]);
}

/** How to save. */
export interface SaveOptions extends WaitOptions {
  /** For a machine that runs meanwhile: called when little of its RAM is left; QEMU has stopped it if nobody else has. */
  beforeDevices?: () => Promise<unknown>;
}

/**
 * Saves the state of a machine, which is stopped afterwards.
 *
 * With `devices`, the machine must not continue afterwards: it would write into the RAM that was just captured.
 *
 * @param socketPath A free path for a socket.
 * @param target The path of a new file, or a function that receives the state.
 * @throws {HotbootError} if it cannot be saved, with QEMU's reason, or the file's. QEMU has stopped saving then, so that the
 * machine can continue, and a partial file is left.
 */
export async function saveState(
  qmp: QmpClient,
  what: What,
  socketPath: string,
  target: string | ((source: Source) => Promise<void>),
  { beforeDevices, ...options }: SaveOptions = {},
): Promise<void> {
  const limits = { timeoutMs: what === "all" ? RAM_TIMEOUT_MS : TIMEOUT_MS, ...options };
  const receive = typeof target === "string" ? (source: Source) => copyToFile(source, target) : target;
  await forgetCapabilities(qmp, limits);
  await prepare(qmp, what, limits);
  if (what === "all") await qmp.execute("migrate-set-parameters", { "max-bandwidth": UNLIMITED }, limits);
  const ended = migrationEnd(qmp, "saving the machine's state", limits);
  const paused = beforeDevices && await pauseBeforeDevices(qmp, limits);
  using listener = await listenUnix(socketPath);
  const received = listener.accept().then(async (connection) => {
    using _connection = connection;
    await receive(connection);
  });
  received.catch(() => {}); // if QEMU refuses, this ends because the listener closes
  try {
    await qmp.execute("migrate", { uri: `unix:${socketPath}` }, limits);
    const failed = received.then(() => new Promise<never>(() => {})); // a full disk explains more than a broken pipe
    if (paused) {
      const { data } = await Promise.race([paused.event, ended, failed]);
      if (data.status === PAUSED) {
        await beforeDevices();
        await qmp.execute("migrate-continue", { state: PAUSED }, limits);
      }
    }
    await requireCompleted(qmp, await Promise.race([ended, failed]));
    await within(received, "QEMU (the machine's state)", limits);
  } catch (error) {
    await cancelMigration(qmp);
    throw error;
  }
}

/** The status in which little RAM is left to send, the machine stands still, and QEMU waits for `migrate-continue`. */
const PAUSED = "pre-switchover";

/** QEMU's run state from then on: hotboot may have died, and then nobody will continue the migration. */
export const BEING_SAVED = "finish-migrate";

/**
 * Has QEMU wait when little is left to send. It stops the machine when what is left would take less than the downtime limit, which
 * is therefore the shortest, in milliseconds.
 *
 * @returns The event of that.
 */
async function pauseBeforeDevices(qmp: QmpClient, limits: WaitOptions): Promise<{ event: Promise<QmpEvent> }> {
  const capabilities = [{ capability: "pause-before-switchover", state: true }];
  await qmp.execute("migrate-set-capabilities", { capabilities }, limits);
  await qmp.execute("migrate-set-parameters", { "downtime-limit": 1 }, limits);
  const isPaused = ({ event, data }: QmpEvent) => event === "MIGRATION" && data.status === PAUSED;
  return { event: qmp.waitForEvent(isPaused, "saving the machine's state", limits) };
}

/** Cancels a migration, even after an abort, and returns when QEMU has stopped it. The machine can continue then. */
export async function cancelMigration(qmp: QmpClient): Promise<void> {
  const ask = (command: string) => qmp.execute<{ status?: string }>(command).catch((): { status?: string } => ({}));
  await ask("migrate_cancel");
  for (let left = CANCEL_TRIES; left > 0; left--) {
    if (!UNDER_WAY.has((await ask("query-migrate")).status ?? "none")) return;
    await sleep(CANCEL_PAUSE_MS);
  }
}

/**
 * Loads state into a machine that was started to wait for it. The machine is paused afterwards.
 *
 * @throws {HotbootError} if QEMU refuses it, or ends (then its message is on its standard error).
 */
export async function loadState(
  qmp: QmpClient,
  what: What,
  socketPath: string,
  state: Uint8Array | { path: string },
  options: WaitOptions = {},
): Promise<void> {
  const limits = { timeoutMs: what === "all" ? RAM_TIMEOUT_MS : TIMEOUT_MS, ...options };
  const ended = migrationEnd(qmp, "loading the machine's state", limits);
  // QEMU runs them in this order, so the second need not wait for the first one's answer.
  await Promise.all([
    prepare(qmp, what, limits),
    qmp.execute("migrate-incoming", { uri: `unix:${socketPath}` }, limits),
  ]);
  const sent = Deno.connect({ transport: "unix", path: socketPath }).then(async (connection) => {
    using _connection = connection; // QEMU reads until it is closed
    if (state instanceof Uint8Array) await writeAll(connection, state);
    else await copyFromFile(state.path, connection);
  });
  sent.catch(() => {}); // if QEMU stops reading, the end of the migration says why
  await requireCompleted(qmp, await ended);
}

/** Resets the capabilities: a machine need not be saved with those that it was loaded with. */
async function forgetCapabilities(qmp: QmpClient, limits: WaitOptions): Promise<void> {
  const all = await qmp.execute<{ capability: string; state: boolean }[]>("query-migrate-capabilities", {}, limits);
  const capabilities = all.filter(({ state }) => state).map(({ capability }) => ({ capability, state: false }));
  await qmp.execute("migrate-set-capabilities", { capabilities }, limits);
}

async function prepare(qmp: QmpClient, what: What, limits: WaitOptions): Promise<void> {
  const capabilities = [
    { capability: "x-ignore-shared", state: what === "devices" },
    { capability: "events", state: true },
  ];
  await qmp.execute("migrate-set-capabilities", { capabilities }, limits);
}

/** The event that ends a migration. Call it before starting one. */
export function migrationEnd(qmp: QmpClient, what: string, limits: WaitOptions): Promise<QmpEvent> {
  return qmp.waitForEvent(
    ({ event, data }) => event === "MIGRATION" && (data.status === "completed" || data.status === "failed"),
    what,
    limits,
  );
}

/** @throws {HotbootError} with QEMU's reason, if the event reports a failure. */
export async function requireCompleted(qmp: QmpClient, { data }: QmpEvent): Promise<void> {
  if (data.status === "completed") return;
  const info = await qmp.execute<{ "error-desc"?: string }>("query-migrate");
  throw new HotbootError(`QEMU could not migrate: ${info["error-desc"] ?? "it gave no reason"}`);
}

async function copyToFile(source: Source, path: string): Promise<void> {
  using file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
  for await (const piece of pieces(source)) await writeAll(file, piece);
}

async function copyFromFile(path: string, connection: Deno.Conn): Promise<void> {
  using file = await Deno.open(path);
  for await (const piece of pieces(file)) await writeAll(connection, piece);
}
