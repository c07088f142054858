/**
 * Moving a machine's state out of QEMU and in again, over a unix socket that hotboot itself serves: every QEMU can do
 * that (`file:` needs 8.2) and our seccomp flags allow it (`exec:` they do not).
 *
 * Source: QEMU's documentation, "Migration framework" (docs/devel/migration/main.rst) and "VM templating"
 * (docs/system/vm-templating.rst).
 */

import { HotbootError } from "../base/error.ts";
import type { QmpClient, QmpEvent } from "../vm/qmp.ts";
import { sleep, type WaitOptions, within } from "../base/wait.ts";
import { pieces, type Source, writeAll } from "../base/io.ts";

/**
 * What is moved: `devices` leaves out memory that is a shared file (the capability `x-ignore-shared`), which is the
 * `instant` engine: the RAM is in its file already. `all` moves everything.
 */
export type What = "devices" | "all";

const TIMEOUT_MS = 30_000;
/** RAM may take as long as its disk does; a machine that makes no progress at all shows in its process. */
export const RAM_TIMEOUT_MS = 600_000;
/** A migration's states in which its machine cannot go on: MigrationStatus in QEMU's "QMP Reference Manual". */
const UNDER_WAY = new Set(["setup", "cancelling", "active", "pre-switchover", "device", "wait-unplug"]);
const [CANCEL_TRIES, CANCEL_PAUSE_MS] = [500, 20];
/** QEMU holds back to 128 MiB/s unless told otherwise, out of regard for a network. */
export const UNLIMITED = 2 ** 50;

/**
 * Saves the state of a stopped machine.
 *
 * With `devices`, the machine must not run on afterwards: it would write into the RAM that was just captured.
 *
 * @param socketPath A free path for a socket.
 * @param target The path of a new file, or what takes the state.
 * @throws {HotbootError} with QEMU's reason, or the file's, when it cannot be saved. QEMU is at it no longer then, so that
 * the machine can go on, and part of a file is left.
 */
export async function saveState(
  qmp: QmpClient,
  what: What,
  socketPath: string,
  target: string | ((source: Source) => Promise<void>),
  options: WaitOptions = {},
): Promise<void> {
  const limits = { timeoutMs: what === "all" ? RAM_TIMEOUT_MS : TIMEOUT_MS, ...options };
  const receive = typeof target === "string" ? (source: Source) => copyToFile(source, target) : target;
  await forgetCapabilities(qmp, limits);
  await prepare(qmp, what, limits);
  if (what === "all") await qmp.execute("migrate-set-parameters", { "max-bandwidth": UNLIMITED }, limits);
  const ended = migrationEnd(qmp, "saving the machine's state", limits);
  await Deno.remove(socketPath).catch(() => {});
  using listener = Deno.listen({ transport: "unix", path: socketPath });
  const received = listener.accept().then(async (connection) => {
    using _connection = connection;
    await receive(connection);
  });
  received.catch(() => {}); // when QEMU refuses, the listener is closed under it
  try {
    await qmp.execute("migrate", { uri: `unix:${socketPath}` }, limits);
    const failed = received.then(() => new Promise<never>(() => {})); // a full disk explains more than a broken pipe
    await requireCompleted(qmp, await Promise.race([ended, failed]));
    await within(received, "QEMU (the machine's state)", limits);
  } catch (error) {
    await cancelMigration(qmp);
    throw error;
  }
}

/** Ends a migration that is under way, whatever the user wants by now, and returns when QEMU has given it up. */
async function cancelMigration(qmp: QmpClient): Promise<void> {
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
 * @throws {HotbootError} when QEMU refuses it, or ends (then its own words are on its standard error).
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
  // QEMU runs them in this order; there is no need to wait for the first one's answer before sending the second.
  await Promise.all([
    prepare(qmp, what, limits),
    qmp.execute("migrate-incoming", { uri: `unix:${socketPath}` }, limits),
  ]);
  const sent = Deno.connect({ transport: "unix", path: socketPath }).then(async (connection) => {
    using _connection = connection; // QEMU reads until it is closed
    if (state instanceof Uint8Array) await writeAll(connection, state);
    else await copyFromFile(state.path, connection);
  });
  sent.catch(() => {}); // QEMU that stops reading has ended the migration, which says why
  await requireCompleted(qmp, await ended);
}

/** What the machine was loaded with need not be what it is saved with. */
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

/** The event with which a migration ends. Ask for it before starting one. */
export function migrationEnd(qmp: QmpClient, what: string, limits: WaitOptions): Promise<QmpEvent> {
  return qmp.waitForEvent(
    ({ event, data }) => event === "MIGRATION" && (data.status === "completed" || data.status === "failed"),
    what,
    limits,
  );
}

/** @throws {HotbootError} with QEMU's reason when that event is a failure's. */
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
