/** `hotboot doctor` on real homes, guests and processes. What it says is compared with what `start` does. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Diagnosis } from "../../lib/doctor/doctor.ts";
import type { Finding } from "../../lib/doctor/finding.ts";
import { GuestHome } from "./guest_home.ts";
import { assertCode, hotboot, type RunOptions } from "./program.ts";
import { ARCH } from "./qemu.ts";
import { freePort } from "./shared.ts";
import { REPOSITORY, TOKEN } from "./github_server.ts";
import { lackOfSmallDisks, smallDisk, testUnless } from "./needs.ts";
import { disk, MIB, PullHome } from "./pull_home.ts";

/** What it finds; its exit code must agree. */
async function doctor(home: GuestHome, args: string[] = [], options: RunOptions = {}): Promise<Diagnosis> {
  const run = await home.run("doctor", ["--json", ...args], options);
  const diagnosis: Diagnosis = JSON.parse(run.stdout || assert(false, run.stderr)!);
  assertEquals(diagnosis.starts, diagnosis.findings.every(({ mark }) => mark !== "fail"));
  assertCode(run, diagnosis.starts ? 0 : 1);
  return diagnosis;
}

/** The only finding with that beginning of its id. */
function about(findings: Finding[], id: string): Finding {
  const found = findings.filter((each) => each.id.startsWith(id));
  assertEquals(found.length, 1, `${id}: ${JSON.stringify(findings, null, 2)}`);
  return found[0];
}

const failures = ({ findings }: Diagnosis) => findings.filter(({ mark }) => mark === "fail").map(({ id }) => id);

Deno.test("doctor says whether a start would work, and what to do if not, as start itself does", async (t) => {
  await using micro = await GuestHome.make({ captured: true });

  await t.step("a home in order: exit code 0, and nothing fails", async () => {
    const { findings } = await doctor(micro);
    assertEquals(about(findings, "qemu").mark, "ok");
    assertEquals(about(findings, "image").mark, "ok");
    assertEquals(about(findings, "strays").mark, "ok");
    assertMatch(about(findings, "snapshot.").reason, /^\S+ fits: the next fresh start resumes it/);
    assertStringIncludes(about(findings, "ports").reason, `${micro.port} (web)`);
    const text = await micro.succeed("doctor");
    assertMatch(text, /^ok {4}profile {7}micro, .*\nok {4}QEMU {10}\d+\.\d+/);
    assertMatch(text, /\n\nA start would work\.\n$/);
    assert(text.split("\n").every((line) => /^(?:ok|info|WARN|FAIL| {20}->| *$|A start)/.test(line)), text);
  });

  await t.step("accelerators are what status says of them, whatever /dev/kvm is", async () => {
    const { findings } = await doctor(micro);
    const { accelerator, passedOver } = (await micro.status()).acceleration!;
    assertEquals(about(findings, `accelerator.${accelerator}`).mark, "ok");
    if (!passedOver) return;
    const { mark, reason, fix } = about(findings, `accelerator.${passedOver.accelerator}`);
    assertEquals([mark, reason, fix], [
      "warn",
      `${passedOver.accelerator} is not used: ${passedOver.why}`,
      passedOver.remedy,
    ]);
  });

  await t.step("a taken port: who has it", async () => {
    using _taken = Deno.listen({ hostname: "127.0.0.1", port: micro.port });
    const found = await doctor(micro);
    assertEquals(failures(found), ["port.web"]);
    const { reason, fix } = about(found.findings, "port.web");
    assertMatch(
      reason,
      new RegExp(`^port ${micro.port} \\('web'\\) is taken by another program \\(process ${Deno.pid}, `),
    );
    const start = await micro.run("start");
    assertCode(start, 1);
    assertMatch(start.stderr, / is taken by another program: .*; run 'hotboot doctor'\n$/);
    assertStringIncludes(start.stderr, fix!);
  });

  await t.step("more memory than this machine has, where the system is strict: a start fails too", async () => {
    const { total, swapTotal } = Deno.systemMemoryInfo();
    await micro.writeProfile({ memory: Math.ceil((total + swapTotal) / 2 ** 20) * 2 });
    const found = await doctor(micro);
    const { mark, reason } = about(found.findings, "memory");
    assertMatch(reason, /^only .* free of .*, and the guest gets /);
    if (mark === "fail") {
      assertEquals(failures(found), ["memory"]);
      const start = await micro.run("start", ["--cold"]);
      assertMatch(
        start.stderr,
        /QEMU ended at its start: .*annot allocate memory: free some, .*; run 'hotboot doctor'\n$/,
      );
    } else {
      assertEquals([mark, await Deno.readTextFile("/proc/sys/vm/overcommit_memory")], ["warn", "1\n"]);
    }
    await micro.writeProfile();
  });

  await t.step("QEMU is not on PATH: what to install", async () => {
    const PATH = `${micro.directory}/no-programs`;
    const found = await doctor(micro, [], { env: { PATH } });
    assertEquals(failures(found), ["qemu"]);
    assertMatch(about(found.findings, "qemu").fix!, /apt install qemu-system-/);
    assertEquals(about(found.findings, "snapshot.").mark, "info"); // nobody can tell
    const start = await micro.run("start", [], { env: { PATH } });
    assertMatch(start.stderr, /^hotboot: \S+ is not on PATH: install QEMU \(.*\); run 'hotboot doctor'\n$/);
  });

  await t.step("a snapshot that does not fit: why", async () => {
    await micro.writeProfile({ memory: 320 });
    const { findings } = await doctor(micro);
    const { mark, reason, fix } = about(findings, "snapshot.");
    assertEquals(mark, "warn");
    assertMatch(reason, /^\S+ does not fit here: the memory was \d+ MiB and is 320 MiB/);
    assertStringIncludes(fix!, "'hotboot capture'");
    await micro.writeProfile();
  });
});

Deno.test("doctor finds QEMUs that no command can reach, ends those of instances that are gone, and knows what cannot continue", async (t) => {
  await using micro = await GuestHome.started();
  const { pid } = await micro.record();

  await t.step("an instance that runs is in order", async () => {
    const found = await doctor(micro);
    assertMatch(about(found.findings, "instance.micro").reason, /^micro is running/);
    assertEquals(failures(found), []);
  });

  await t.step("one whose sockets are gone cannot be started, and is not ended", async () => {
    await Deno.rename(micro.socket("monitor"), `${micro.directory}/monitor`);
    const found = await doctor(micro, ["--fix"]);
    assert(failures(found).includes(`process.${pid}`), JSON.stringify(found));
    assertEquals(await micro.qemuProcesses(), [pid]);
    await Deno.rename(`${micro.directory}/monitor`, micro.socket("monitor"));
  });

  await t.step("a suspended session that does not fit the profile any more cannot continue", async () => {
    await micro.succeed("stop");
    await micro.writeProfile({ memory: 320 });
    const found = await doctor(micro);
    assertEquals(failures(found), ["instance.micro"]);
    const { reason, fix } = about(found.findings, "instance.micro");
    const [, why] = reason.match(/^micro is suspended, and cannot continue: (the memory was .*)$/)!;
    assertStringIncludes(fix!, "'hotboot start --cold");
    assertStringIncludes((await micro.run("start")).stderr, why);
    await micro.writeProfile();
    assertEquals(failures(await doctor(micro)), []);
  });

  await t.step("a QEMU whose instance is gone is found, and --fix ends it", async () => {
    await micro.start();
    const { pid } = await micro.record();
    await Deno.remove(micro.instance, { recursive: true });
    const found = await doctor(micro);
    const { mark, fix } = about(found.findings, `process.${pid}`);
    assertEquals(mark, "warn");
    assertStringIncludes(fix!, "'hotboot doctor --fix");
    assertEquals(failures(found), ["port.web"]); // it has that
    assertEquals(await micro.qemuProcesses(), [pid]);

    const leftover = `${micro.home}/images/.tmp-micro-${micro.arch}-${crypto.randomUUID()}`;
    await Deno.writeTextFile(leftover, "begun");
    const mended = await doctor(micro, ["--fix"]);
    assertEquals(failures(mended), []);
    const fixed = mended.findings.filter(({ fixed }) => fixed).map(({ id }) => id).sort();
    assertEquals(fixed, [`leftover.${leftover}`, `process.${pid}`]);
    assertEquals(await micro.qemusLeft(), []);
    assertEquals(about((await doctor(micro)).findings, "strays").reason, "none");
  });
});

Deno.test("doctor asks no server without --online, judges the release with it, and never says the token", async () => {
  await using pull = await PullHome.make();
  pull.env.GITHUB_ENTERPRISE_TOKEN = TOKEN;
  const examine = async (...args: string[]) => {
    const { stdout, stderr } = await pull.run("doctor", "--json", ...args);
    assertEquals([stdout.includes(TOKEN), stderr], [false, ""]);
    return JSON.parse(stdout) as Diagnosis;
  };
  const offline = await examine();
  assertEquals(pull.github.seen, []);
  assertEquals(about(offline.findings, "token").reason, "from GITHUB_ENTERPRISE_TOKEN");
  assertStringIncludes(about(offline.findings, "image").fix!, "'hotboot doctor --online'");

  const missing = await examine("--online");
  assertEquals(about(missing.findings, "release").mark, "fail");
  assertMatch(about(missing.findings, "release").reason, /there is no release 'emulator-dev-latest'/);

  pull.github.release("emulator-dev-latest", [{ name: `emulator-${ARCH}.qcow2`, bytes: disk(MIB, 1) }]);
  const { findings } = await examine("--online");
  assertEquals(about(findings, "release").reason, `${REPOSITORY} has it (1.0 MB)`);
  assertMatch(about(findings, "disk.").reason, /and the image \(at most 1\.0 MB\)$/);
});

testUnless(
  await lackOfSmallDisks(),
  "doctor: a disk that is too small fails, and so does a home on a full one",
  async () => {
    const directory = await Deno.makeTempDir({ prefix: "hotboot-test-" });
    try {
      await using _disk = await smallDisk(`${directory}/disk`, 8);
      const profile = `${directory}/small.json`;
      const ports = { web: { guest: 80, host: freePort() } };
      const machine = { memory: 256, cpus: 1 };
      const image = { build: { script: "build.sh", inputs: ["build.sh"] } };
      const health = [{ name: "web", port: "web", path: "/" }];
      const timeouts = { boot: 1, resume: 1 };
      await Deno.writeTextFile(profile, JSON.stringify({ name: "small", image, machine, ports, health, timeouts }));
      const examine = async () => {
        const run = await hotboot(["doctor", "--json", "--profile", profile, "--home", `${directory}/disk/home`]);
        assertCode(run, 1);
        return JSON.parse(run.stdout) as Diagnosis;
      };
      const small = await examine();
      assertEquals(failures(small), [`disk.${directory}/disk/home`]);
      assertMatch(about(small.findings, "disk.").reason, /^only 8\.0 MB free for /);
      const full = new Uint8Array(8 * 1024 * 1024);
      await Deno.writeFile(`${directory}/disk/full`, full).catch(() => {}); // as much as there is room for
      assertEquals(failures(await examine()), ["home"]);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
);
