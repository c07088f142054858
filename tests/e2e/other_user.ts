/** Another user of this machine: tests act as that user, with a real uid. That needs root (or sudo without a password), and util-linux's setpriv. */

import { assert, assertEquals } from "@std/assert";
import { walk } from "@std/fs/walk";

const OTHER_UID = 65534; // nobody

/**
 * In Perl, which every Debian has: tries each path of its input in every way, and prints path, way and
 * error, which is empty if it succeeded.
 */
const ATTEMPTS = `
  use Socket;
  die "still root\\n" if $< != ${OTHER_UID} || $> != ${OTHER_UID};
  $/ = "\\0";
  sub report { printf "%s\\0%s\\0%s\\0", @_ }
  while (my $path = <STDIN>) {
    chomp $path;
    my ($d, $r, $w, $s, $byte);
    report($path, "list", opendir($d, $path) ? "" : "$!");
    report($path, "enter", chdir($path) ? "" : "$!");
    chdir "/";
    report($path, "read", open($r, "<", $path) && defined(sysread($r, $byte, 1)) ? "" : "$!");
    my $new = "$path/other-$$";
    report($path, "write", (-d $path ? mkdir($new) && rmdir($new) : open($w, ">>", $path)) ? "" : "$!");
    socket($s, PF_UNIX, SOCK_STREAM, 0);
    my $address = eval { pack_sockaddr_un($path) };
    report($path, "connect", !$address ? "too long" : connect($s, $address) ? "" : "$!") if length($path) < 108;
  }`;

/** Starts a program as the other user. */
export function spawnAsOther(command: string[]): Deno.ChildProcess {
  const prefix = [
    ...Deno.uid() === 0 ? [] : ["sudo", "-n"],
    ...["setpriv", `--reuid=${OTHER_UID}`, `--regid=${OTHER_UID}`, "--clear-groups", "--"],
  ];
  const [program, ...args] = [...prefix, ...command];
  return new Deno.Command(program, {
    args,
    cwd: "/",
    env: { LC_ALL: "C" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Runs one to its end. */
export async function asOther(
  command: string[],
  stdin = "",
): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = spawnAsOther(command);
  const fed = new Response(stdin).body?.pipeTo(child.stdin) ?? child.stdin.close();
  const [{ code, stdout, stderr }] = await Promise.all([child.output(), fed]);
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** What the other user can do with these paths, as `path: way`, and errors that are not about permission. */
export async function reachable(paths: string[]): Promise<string[]> {
  assert(paths.length > 0);
  const { code, stdout, stderr } = await asOther(["perl", "-e", ATTEMPTS], paths.map((path) => `${path}\0`).join(""));
  assertEquals(code, 0, stderr);
  const fields = stdout.split("\0");
  const found: string[] = [];
  for (let at = 0; at + 2 < fields.length; at += 3) {
    const [path, way, error] = fields.slice(at, at + 3);
    if (error === "") found.push(`${path}: ${way}`);
    else if (error !== "Permission denied") found.push(`${path}: ${way}: ${error}`);
  }
  assertEquals(new Set(fields.filter((_, at) => at % 3 === 0 && at + 2 < fields.length)).size, paths.length);
  return found;
}

/** Everything below a directory, as its owner sees it. */
export async function below(directory: string): Promise<string[]> {
  const [, ...paths] = await Array.fromAsync(walk(directory), ({ path }) => path);
  return paths;
}

/** The paths whose own mode would let others in. */
export async function openByMode(paths: string[]): Promise<string[]> {
  const found: string[] = [];
  for (const path of paths) {
    const { mode, isSymlink } = await Deno.lstat(path);
    if (!isSymlink && (mode! & 0o077) !== 0) found.push(`${path}: ${(mode! & 0o777).toString(8)}`);
  }
  return found;
}

const isThere = Deno.build.os === "linux" && (await asOther(["perl", "-e", "1"]).catch(() => undefined))?.code === 0;
/** What is missing for that, if something is. */
export const LACK_OF_OTHER_USER = isThere
  ? undefined
  : "a second user needs Linux, setpriv and perl, and root or sudo without a password";
