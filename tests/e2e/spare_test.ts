// needs: micro

/** Spares: guests with secrets of their own, proven ahead of time. Each is used once, and goes with its snapshot. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { exists } from "@std/fs/exists";
import { toText } from "@std/streams/to-text";
import { entriesIn } from "../../lib/base/entries.ts";
import type { Spares } from "../../lib/emulator/spares.ts";
import type { StartResult } from "../../lib/emulator/start.ts";
import type { Profile } from "../../lib/profile/profile.ts";
import type { GuestHome } from "./guest_home.ts";
import { assertCode, type Run } from "./program.ts";
import { until } from "./pace.ts";
import { PLACEHOLDER, ROTATE, secretMicro } from "./secret_micro.ts";

/** Its services learn their ports when they wake. */
const learnPorts = (profile: Profile) => {
  profile.hooks = { afterResume: [["sh", "-c", "echo $HOTBOOT_PORT_WEB >/www/port"]] };
};

/** A captured guest, and what is asked of it. */
async function sparing(rotation = ROTATE): Promise<GuestHome> {
  return await secretMicro(rotation, learnPorts, { captured: true });
}

async function names(micro: GuestHome, directory: string): Promise<string[]> {
  return (await entriesIn(`${micro.home}/${directory}`)).map(({ name }) => name);
}

/** The directories of whole spares. */
async function spares(micro: GuestHome): Promise<string[]> {
  const directory = `spares/micro-${micro.arch}`;
  return (await names(micro, directory)).map((name) => `${micro.home}/${directory}/${name}`);
}

async function hidden(micro: GuestHome): Promise<string[]> {
  return (await names(micro, "instances")).filter((name) => name.startsWith("."));
}

async function count(micro: GuestHome, ...args: string[]): Promise<[number, number]> {
  const { spares, wanted }: Spares = JSON.parse(await micro.succeed("spare", [...args, "--json"]));
  return [spares, wanted];
}

async function served(url: string, path: string): Promise<string> {
  return (await (await fetch(`${url}/${path}`)).text()).trim();
}

Deno.test("spares: each is for one start, with secrets, a disk, ports and a time of its own", async (t) => {
  await using micro = await sparing();
  const shell = async (instance: string, script: string) =>
    (await micro.succeed("exec", ["--instance", instance, "--", "sh", "-c", script])).trim();
  const startAs = (instance: string, ...args: string[]) =>
    micro.start("--instance", instance, "--no-fallback", ...args);

  await t.step("made, counted, and no instance", async () => {
    assertEquals(await count(micro), [0, 0]);
    assertEquals(await count(micro, "2"), [2, 2]);
    assertEquals(await count(micro), [2, 2]);
    assertEquals((await micro.status()).spares, { spares: 2, wanted: 2 });
    const [{ spares: ofSnapshot, usedBy }] = JSON.parse(await micro.succeed("snapshot ls", ["--json"]));
    assertEquals([ofSnapshot, usedBy], [2, []]);
    const listed: { instance: string }[] = JSON.parse(await micro.succeed("list", ["--json"]));
    assertEquals(listed.filter(({ instance }) => instance.startsWith(".")), []);
    assertEquals(await micro.qemusLeft(), []);
    assertCode(await micro.run("spare", ["two"]), 2);
  });

  await t.step("stopping all and resetting leave them alone", async () => {
    await micro.succeed("stop", ["--all", "--discard"]);
    await micro.succeed("reset");
    assertEquals(await count(micro), [2, 2]);
  });

  await t.step("two starts at once take two", async () => {
    const before = await Promise.all(
      (await spares(micro)).map((path) => Deno.readTextFile(`${path}/credentials.json`)),
    );
    const started = await Promise.all([startAs("a"), startAs("b")]);
    assertEquals(started.map(({ origin }) => origin), ["spare", "spare"]);
    assertEquals(await spares(micro), []);
    assertEquals(started.map(({ snapshot }) => snapshot), Array(2).fill((await micro.snapshot()).split("/").at(-1)));
    const own = async ({ urls, credentials }: StartResult) => {
      const token = await served(urls.web, "token");
      assert(token !== PLACEHOLDER && token.length === PLACEHOLDER.length, token);
      const text = await Deno.readTextFile(credentials!);
      assertEquals(JSON.parse(text), { TOKEN: token });
      assert(before.map((each) => JSON.parse(each).TOKEN).includes(token), "it is another than the spare's");
      assertEquals(await served(urls.web, "port"), new URL(urls.web).port);
      return [token, new URL(urls.web).port];
    };
    const all = (await Promise.all(started.map(own))).flat();
    assertEquals(new Set(all).size, 4, all.join());
    const random = await Promise.all(["a", "b"].map((each) => shell(each, "cat /proc/sys/kernel/random/uuid")));
    assertEquals(new Set(random).size, 2);
    await shell("a", "echo a >/data/own; sync");
    assertEquals(await shell("b", "test -e /data/own || echo none"), "none");
    for (const instance of ["a", "b"]) {
      const offset = Number(await shell(instance, "date +%s")) - Date.now() / 1000;
      assert(Math.abs(offset) < 5, `${instance}: ${offset} s`);
    }
  });

  await t.step("nothing is left of one: its instance lives as any other does", async () => {
    assertEquals((await startAs("c")).origin, "resume");
    await micro.succeed("stop", ["--instance", "a"]);
    assertEquals((await startAs("a")).origin, "continue");
    assertEquals(await shell("a", "cat /data/own"), "a");
    await micro.succeed("stop", ["--instance", "a", "--shutdown"]);
    assertEquals((await startAs("a")).origin, "cold boot");
    assertEquals(await shell("a", "cat /data/own"), "a");
    const forked: StartResult = JSON.parse(await micro.succeed("fork", ["b", "d", "--json"]));
    assertEquals(forked.origin, "resume");
    await micro.succeed("stop", ["--all", "--discard"]);
    assertEquals(await hidden(micro), []);
  });

  await t.step("run --fresh uses one, and makes another", async () => {
    await micro.succeed("spare", ["1"]);
    const before = await spares(micro);
    const run = await micro.run("run", ["--fresh", "--", "sh", "-c", "exit 7"]);
    assertCode(run, 7);
    assertMatch(run.stderr, /use a spare of snapshot [^]*make spare 1 of 1\n/);
    const after = await spares(micro);
    assertEquals([after.length, after.includes(before[0])], [1, false]);
    assertEquals((await names(micro, "instances")).filter((name) => name.startsWith("fresh-")), []);
  });

  await t.step("not used for what was asked for otherwise, and not with another profile", async () => {
    assertEquals((await startAs("e", "--no-rotation")).origin, "resume");
    assertEquals((await startAs("f", "--engine", "instant")).origin, "resume");
    const other = `${micro.directory}/other.json`;
    const profile: Profile = JSON.parse(await Deno.readTextFile(micro.profile));
    profile.rotation!.command = ["sh", "-c", `${ROTATE}; true`];
    await Deno.writeTextFile(other, JSON.stringify(profile));
    assertEquals((await startAs("g", "--profile", other)).origin, "resume");
    assertEquals((await spares(micro)).length, 1);
    await micro.succeed("stop", ["--all", "--discard"]);
    const [old] = await spares(micro);
    assertEquals(await count(micro, "1", "--profile", other), [1, 1]);
    assertEquals((await spares(micro)).includes(old), false);
  });

  await t.step("fewer are fewer, and none leaves nothing", async () => {
    assertEquals(await count(micro, "2"), [2, 2]);
    assertEquals(await count(micro, "1"), [1, 1]);
    assertEquals(await count(micro, "0"), [0, 0]);
    assertEquals([await spares(micro), await hidden(micro)], [[], []]);
    assertEquals((await micro.status()).spares, undefined);
  });
});

Deno.test("spares: a damaged one is dropped, with a warning, and the snapshot resumes", async (t) => {
  await using micro = await sparing();
  const damage: Record<string, (spare: string) => Promise<void>> = {
    "its devices are cut off": (spare) => Deno.truncate(`${spare}/device.state`, 1000),
    "its disk is gone": async (spare) => {
      const { checkpoint } = JSON.parse(await Deno.readTextFile(`${spare}/manifest.json`));
      await Deno.remove(`${micro.home}/instances/.layer-${checkpoint.layer.name}/disk.qcow2`);
    },
    "its secrets are gone": (spare) => Deno.remove(`${spare}/credentials.json`),
    "its devices are others": async (spare) => {
      const path = `${spare}/device.state`;
      const bytes = await Deno.readFile(path);
      bytes.fill(0xff, bytes.length / 2);
      await Deno.writeFile(path, bytes);
    },
  };
  for (const [what, harm] of Object.entries(damage)) {
    await t.step(what, async () => {
      await micro.succeed("spare", ["1"]);
      const [spare] = await spares(micro);
      await harm(spare);
      const run = await micro.run("start", ["--json", "--no-fallback"]);
      assertCode(run, 0);
      assertMatch(run.stderr, /^hotboot: warning: a spare did not work, and is dropped: /m);
      const { origin, urls }: StartResult = JSON.parse(run.stdout);
      assertEquals([origin, await spares(micro)], ["resume", []]);
      assert(await served(urls.web, "token") !== PLACEHOLDER);
      await micro.succeed("stop", ["--discard"]);
      assertEquals(await hidden(micro), []);
    });
  }

  await t.step("one without a description is made anew", async () => {
    await micro.succeed("spare", ["1"]);
    const [spare] = await spares(micro);
    await Deno.remove(`${spare}/manifest.json`);
    assertEquals((await micro.start("--no-fallback")).origin, "resume");
    await micro.succeed("stop", ["--discard"]);
    assertEquals(await count(micro, "1"), [1, 1]);
    assertEquals([(await spares(micro)).length, await exists(spare)], [1, false]);
  });
});

Deno.test("spares: one that is not finished does not count, and is cleaned away", async (t) => {
  // Long enough to be met in it.
  await using micro = await sparing(`echo rotating >/dev/console; sleep 1; ${ROTATE}`);
  const making = `${micro.home}/instances/.spare-micro-${micro.arch}`;
  /** Its guest has woken: QEMU stays when hotboot ends, which it does not while it loads. */
  const isWoken = async () => (await Deno.readTextFile(`${making}/serial.log`).catch(() => "")).includes("rotating");
  /** Its memory is being written. */
  const isSaved = async () => {
    const [path] = await spares(micro);
    return path !== undefined && /\.tmp-[^/]+$/.test(path) && await exists(`${path}/ram`);
  };
  const moments = { "its guest has woken": isWoken, "its memory is being written": isSaved };
  /** Ends the making of one at such a moment, while QEMU runs. */
  const endedWhen = async (
    signal: Deno.Signal,
    moment: keyof typeof moments,
    verb = "spare",
    args = ["1"],
  ): Promise<{ code: number; stderr: string }> => {
    const isThen = moments[moment];
    const child = micro.spawn(verb, ...args);
    const output = Promise.all([child.status, toText(child.stderr), toText(child.stdout)]);
    await until(isThen, moment);
    child.kill("SIGSTOP"); // if it has ended, the signal is sent to nobody
    const isStill = await isThen() && (await micro.qemuProcesses()).length === 1;
    if (isStill) child.kill(signal);
    if (!isStill || signal !== "SIGKILL") child.kill("SIGCONT");
    const [{ code }, stderr] = await output;
    if (isStill) return { code, stderr };
    // It was made in the meantime. A start uses it, and another one is to be made.
    await micro.start();
    await micro.succeed("stop", ["--discard"]);
    return await endedWhen(signal, moment, verb, args);
  };

  await t.step("killed: what is left goes when the next is made", async () => {
    for (const moment of ["its guest has woken", "its memory is being written"] as const) {
      await endedWhen("SIGKILL", moment);
      assertEquals((await count(micro))[0], 0, moment);
      assertEquals((await micro.qemuProcesses()).length, 1, moment);
      assertEquals(await count(micro, "1"), [1, 1]);
      assertEquals([await micro.qemuProcesses(), await exists(making), (await spares(micro)).length], [[], false, 1]);
      await micro.succeed("spare", ["0"]);
    }
  });

  await t.step("killed: pruning ends its QEMU", async () => {
    await endedWhen("SIGKILL", "its guest has woken");
    const would = JSON.parse(await micro.succeed("snapshot prune", ["--dry-run", "--json"]));
    assertEquals(would.removed.map(({ path }: { path: string }) => path), [making]);
    assertEquals((await micro.qemuProcesses()).length, 1);
    await micro.succeed("snapshot prune");
    assertEquals([await micro.qemuProcesses(), await exists(making), await hidden(micro)], [[], false, []]);
  });

  await t.step("interrupted: nothing is left", async () => {
    for (const moment of ["its guest has woken", "its memory is being written"] as const) {
      const { code, stderr } = await endedWhen("SIGINT", moment);
      assertEquals(code, 130, `${moment}: ${stderr}`);
      assertEquals([await micro.qemuProcesses(), await hidden(micro), await spares(micro)], [[], [], []], moment);
    }
  });

  await t.step("interrupted after a command's own work: a warning, and the command's exit code", async () => {
    assertEquals((await count(micro))[1], 1);
    for (const [verb, ...args] of [["capture"], ["run", "--fresh", "--", "sh", "-c", "exit 7"]]) {
      const { code, stderr } = await endedWhen("SIGINT", "its guest has woken", verb, args);
      assertEquals(code, verb === "capture" ? 0 : 7, stderr);
      assertMatch(
        stderr,
        /warning: spares are missing: interrupted by SIGINT; 'hotboot spare --profile \S+ --home \S+' counts them\n$/,
      );
      assertEquals([await micro.qemuProcesses(), await hidden(micro)], [[], []], verb);
    }
  });
});

Deno.test("spares: they go with their snapshot", async (t) => {
  await using micro = await sparing();
  const snapshot = async () => (await micro.snapshot()).split("/").at(-1);

  await t.step("a capture replaces them", async () => {
    await micro.succeed("spare", ["1"]);
    const before = await snapshot();
    const [old] = await spares(micro);
    const run: Run = await micro.run("capture", ["--force"]);
    assertCode(run, 0);
    assertMatch(run.stderr, /make spare 1 of 1/);
    assert(await snapshot() !== before, "the old snapshot is still there");
    assertEquals([(await spares(micro)).length, await exists(old)], [1, false]);
    const { origin, snapshot: used } = await micro.start("--no-fallback");
    assertEquals([origin, used], ["spare", await snapshot()]);
    await micro.succeed("stop", ["--discard"]);
  });

  await t.step("removing it removes them, and there are none without one", async () => {
    await micro.succeed("spare", ["1"]);
    await micro.succeed("snapshot rm", ["--all"]);
    assertEquals([await spares(micro), await hidden(micro)], [[], []]);
    const run = await micro.run("spare", ["1"]);
    assertCode(run, 1);
    assertMatch(
      run.stderr,
      /^hotboot: 'micro' has no snapshot to make spares of: 'hotboot capture' makes one[^\n]*\n$/,
    );
    assertEquals(await count(micro), [0, 1]);
  });
});
