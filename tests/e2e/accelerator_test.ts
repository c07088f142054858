/**
 * Accelerators, on hosts of each kind. A script before QEMU plays the hosts that this machine is not: it answers for
 * kvm as they do (their messages are in tests/unit/accelerator_test.ts), or emulates in kvm's place. It cannot show how
 * fast a real kvm is.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { measureEmulation } from "../../lib/vm/accelerator.ts";
import { accelerationGuest } from "../../lib/vm/accelerator_guest.ts";
import type { Arch } from "../../lib/vm/arch.ts";
import { onPath } from "../../lib/base/on_path.ts";
import { probeQemu } from "../../lib/vm/probe.ts";
import type { Status } from "../../lib/emulator/status.ts";
import { GuestHome } from "./guest_home.ts";
import { assertCode } from "./program.ts";
import { newerQemu, QEMU } from "./qemu.ts";

const MACHINES: Record<Arch, { machine: string; cpuModel: string }> = {
  amd64: { machine: "q35", cpuModel: "max,erms=off,fsrm=off" },
  arm64: { machine: "virt", cpuModel: "max,pauth-impdef=on" },
};

/** Lets a script tell the trial of an accelerator from other uses of QEMU. */
const IS_TRIAL = `case "$*" in *accelerator-*) trial=yes ;; *) trial= ;; esac`;
/** Replaces kvm on the command line by emulation. */
const EMULATE = `
for arg; do
  shift
  case $arg in kvm) arg=tcg ;; host) arg=max ;; esac
  set -- "$@" "$arg"
done`;

/** Scripts that play a host's kvm. They need not handle other accelerators. */
const HOSTS = {
  "no device": `echo "Could not access KVM kernel module: No such file or directory" >&2; exit 1`,
  "no permission": `echo "Could not access KVM kernel module: Permission denied" >&2; exit 1`,
  "QEMU aborts": `echo "error: failed to set MSR 0x10a to 0x69" >&2; kill -ABRT $$`,
  "slower than emulation": `[ -z "$trial" ] || sleep 20\n${EMULATE}`,
};

/** An environment in which `script` plays QEMU's kvm and no variable decides. Each start of QEMU is noted. */
async function hostWith(home: GuestHome, script: string): Promise<Record<string, string>> {
  const note = `echo started >>'${home.directory}/starts'`;
  const env = await home.wrappedQemu((qemu) =>
    `${note}\n${IS_TRIAL}\ncase "$*" in *"-accel kvm"*) ${script}\n ;; esac\nexec ${qemu} "$@"`
  );
  return { HOTBOOT_ACCEL: "", ...env };
}

/** A host whose kvm works: it is really emulation, and emulation itself is made slower (QEMU 7.2: -singlestep). */
const WORKING = `case "$*" in
  *"-accel kvm"*) ${EMULATE} ;;
  *) [ -z "$trial" ] || set -- "$@" -singlestep ;;
esac`;

Deno.test("the trial guest does its work on each QEMU and architecture", async () => {
  const directory = await Deno.makeTempDir({ prefix: "hotboot-accelerator-" });
  try {
    for (const arch of ["amd64", "arm64"] as const) {
      const guest = `${directory}/${arch}`;
      await Deno.writeFile(guest, accelerationGuest(arch));
      for (const name of [QEMU[arch], await newerQemu(arch)]) {
        const program = name.includes("/") ? name : (await onPath(name))!;
        const candidate = { program, arch, accelerator: "tcg", ...MACHINES[arch] };
        assert(await measureEmulation(candidate, guest), `${arch}, ${program}`);
      }
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

for (const [kind, script] of Object.entries(HOSTS)) {
  Deno.test(`on a host with a bad kvm (${kind}), guests are emulated, and a message says why and what to do`, async () => {
    await using micro = await GuestHome.make();
    const env = await hostWith(micro, script);
    const run = await micro.run("start", [], { env });
    assertCode(run, 0);
    const said = run.stderr.split("\n").filter((line) => line.includes("emulated, without kvm"));
    assertEquals(said.length, 1, run.stderr);
    assertMatch(said[0], /^hotboot: the guest's CPUs are emulated, without kvm: .+; .+$/);
    assertMatch(run.stderr, /cold boot \(\d+ MiB, tcg\)/);

    const { acceleration } = JSON.parse((await micro.run("status", ["--json"], { env })).stdout) as Status;
    assertEquals(acceleration!.accelerator, "tcg");
    assertEquals(said[0].includes(acceleration!.passedOver!.why), true, said[0]);
    assertMatch((await micro.run("status", [], { env })).stdout, /emulated, without kvm: /);
    // A resume repeats neither the message nor the trial: QEMU starts only for the guest.
    await micro.succeed("stop", ["--discard"]);
    await Deno.remove(`${micro.directory}/starts`);
    const resumed = await micro.run("start", ["--no-fallback"], { env });
    assertCode(resumed, 0);
    assertEquals(resumed.stderr.includes("without kvm"), false);
    assertEquals(await Deno.readTextFile(`${micro.directory}/starts`), "started\n");
  });
}

Deno.test("a working kvm is used, and a refused one as soon as it works", async () => {
  await using micro = await GuestHome.make();
  // One file for both, with the same size and date, so that QEMU seems unchanged.
  const disguise = async (env: Record<string, string>) => {
    const wrapper = `${micro.directory}/wrapped-qemu`;
    await Deno.writeTextFile(wrapper, (await Deno.readTextFile(wrapper)).padEnd(4096, "\n"));
    await Deno.utime(wrapper, 0, 0);
    return env;
  };
  const refusing = await disguise(await hostWith(micro, HOSTS["no permission"]));
  assertCode(await micro.run("start", ["--no-fallback"], { env: refusing }), 0);
  await micro.succeed("stop");
  const working = await disguise(
    await micro.wrappedQemu((qemu) => `${IS_TRIAL}\n${WORKING}\nexec ${qemu} "$@"`),
  );

  // An instance that was suspended under emulation continues under emulation.
  const continued = await micro.run("start", ["--json", "--no-fallback"], { env: working });
  assertCode(continued, 0);
  assertEquals(JSON.parse(continued.stdout).origin, "continue");
  await micro.succeed("stop", ["--discard"]);
  const captured = await micro.run("capture", [], { env: working });
  assertCode(captured, 0);
  assertMatch(captured.stderr, /cold boot \(\d+ MiB, kvm\)/);
  const resumed = await micro.run("start", ["--json", "--no-fallback"], { env: working });
  assertEquals(JSON.parse(resumed.stdout).origin, "resume");
});

Deno.test("HOTBOOT_ACCEL decides, with a message if its accelerator is slower than emulation or does not work", async () => {
  await using micro = await GuestHome.make();
  const slow = await hostWith(micro, HOSTS["slower than emulation"]);
  const named = await micro.run("start", ["--cold"], { env: { ...slow, HOTBOOT_ACCEL: "kvm" } });
  assertCode(named, 0);
  assertMatch(named.stderr, /warning: HOTBOOT_ACCEL=kvm, which is slower than emulation here: unset it/);
  assertMatch(named.stderr, /cold boot \(\d+ MiB, kvm\)/);
  await micro.succeed("stop", ["--discard"]);

  const none = await hostWith(micro, HOSTS["no device"]);
  const refused = await micro.run("start", ["--cold"], { env: { ...none, HOTBOOT_ACCEL: "kvm" } });
  assertCode(refused, 1);
  assertMatch(
    refused.stderr,
    /^hotboot: HOTBOOT_ACCEL=kvm cannot be used \(there is no \/dev\/kvm\): unset it, or [^\n]+; run 'hotboot doctor'\n$/,
  );
  const unknown = await micro.run("start", ["--cold"], { env: { ...none, HOTBOOT_ACCEL: "xen" } });
  assertCode(unknown, 1);
  assertMatch(unknown.stderr, /^hotboot: HOTBOOT_ACCEL is 'xen': set it to kvm, hvf or tcg, or unset it\n$/);
});

/** kvm works in the trial, but a guest that boots with it never runs. */
const STUCK = `case "$*" in
  *"-accel kvm"*) ${EMULATE}; [ -n "$trial" ] || set -- "$@" -S ;;
  *) [ -z "$trial" ] || set -- "$@" -singlestep ;;
esac`;

Deno.test("a guest that gets stuck with hardware acceleration boots again under emulation, which is remembered", async () => {
  // It may be silent for half of the boot timeout.
  await using micro = await GuestHome.make({ change: (profile) => profile.timeouts = { boot: 40, resume: 45 } });
  const env = await micro.wrappedQemu((qemu) => `${IS_TRIAL}\n${STUCK}\nexec ${qemu} "$@"`);
  const untold = await micro.run("start", ["--no-fallback"], { env });
  assertCode(untold, 1);
  assertMatch(untold.stderr, /with kvm, the guest has not printed anything or used its disk for \d+ s/);

  const run = await micro.run("start", [], { env });
  assertCode(run, 0);
  assertMatch(run.stderr, /warning: with kvm, the guest has not printed anything[^\n]*; booting again, with emulation/);
  assertMatch(run.stderr, /cold boot \(\d+ MiB, tcg\)/);
  assertMatch(
    (await micro.run("status", [], { env })).stdout,
    /did nothing for \d+ s; HOTBOOT_ACCEL=kvm tries it again/,
  );
  await micro.succeed("stop", ["--discard"]);
  const again = await micro.run("start", ["--json", "--no-fallback"], { env });
  assertCode(again, 0);
  assertEquals(JSON.parse(again.stdout).origin, "resume");
});

Deno.test("an emulated guest whose kernel panics boots again, and at most twice", async (t) => {
  await using micro = await GuestHome.make();
  /** A QEMU whose first guests have no program to begin with, and panic. */
  const failing = (times: number) =>
    micro.wrappedQemu((qemu) => `
case "$*" in *console=*)
  echo boot >>${micro.directory}/boots
  [ "$(wc -l <${micro.directory}/boots)" -gt ${times} ] || for arg; do
    shift
    case $arg in *console=*) arg="$arg rdinit=/none root=/dev/none" ;; esac
    set -- "$@" "$arg"
  done
esac
exec ${qemu} "$@"`);
  await t.step("twice", async () => {
    const run = await micro.run("capture", [], { env: { HOTBOOT_ACCEL: "", ...await failing(2) } });
    assertCode(run, 0);
    assertEquals(
      run.stderr.match(/^hotboot: warning: Kernel panic - not syncing: [^\n]*; booting again$/gm)?.length,
      2,
      run.stderr,
    );
  });
  await t.step("each time", async () => {
    const run = await micro.run("capture", ["--force"], { env: { HOTBOOT_ACCEL: "", ...await failing(99) } });
    assertCode(run, 1);
    const [, log] = run.stderr.match(
      /\nhotboot: the guest does not come up \(Kernel panic - [^\n]*\): see its output in (\S+)\n$/,
    )!;
    assertMatch(await Deno.readTextFile(log), /end Kernel panic/);
  });
});

Deno.test("if the first start cannot capture, it boots", async () => {
  await using micro = await GuestHome.make();
  const env = await micro.wrappedQemu((qemu) =>
    `case "$*" in *share=on*) echo "cannot map the file" >&2; exit 1 ;; esac\nexec ${qemu} "$@"`
  );
  const refused = await micro.run("start", ["--no-fallback"], { env });
  assertCode(refused, 1);
  assertMatch(refused.stderr, /cannot map the file/);
  const run = await micro.run("start", ["--json"], { env });
  assertCode(run, 0);
  assertEquals(JSON.parse(run.stdout).origin, "cold boot");
  assertMatch(run.stderr, /warning: no snapshot was captured: [^\n]*cannot map the file/);
});

Deno.test("on Arm, an accelerator is used even if QEMU cannot expand its CPU model", async () => {
  const directory = await Deno.makeTempDir({ prefix: "hotboot-accelerator-" });
  try {
    const real = await onPath("qemu-system-aarch64");
    const program = `${directory}/qemu-system-aarch64`;
    const cache = { facts: `${directory}/facts.json`, guest: `${directory}/guest` };
    const play = async (script: string) => {
      await Deno.writeTextFile(program, `#!/bin/sh\n${IS_TRIAL}\n${script}\nexec ${real} "$@"\n`);
      await Deno.chmod(program, 0o755);
      return await probeQemu(program, "arm64", cache, {}, { hardware: "hvf" });
    };
    // As under hvf, QEMU answers the query about 'host' with an error: it has the model only with kvm.
    const worked = await play(WORKING.replaceAll("kvm", "hvf"));
    assertEquals([worked.accelerator, worked.cpuModel, worked.passedOver], ["hvf", "host", undefined]);

    const refusals = {
      "qemu-system-aarch64: -accel hvf: invalid accelerator hvf": /built without/,
      "qemu-system-aarch64: -accel hvf: Error: ret = HV_DENIED (0xfae94007, at ../accel/hvf/hvf-accel-ops.c:339)":
        /entitlement/,
      "qemu-system-aarch64: Property 'host-arm-cpu.sme' not found": /SME/,
    };
    for (const [said, why] of Object.entries(refusals)) {
      const { accelerator, passedOver } = await play(
        `case "$*" in *"-accel hvf"*) echo "${said}" >&2; exit 1 ;; esac`,
      );
      assertEquals(accelerator, "tcg");
      assertMatch(passedOver!.why, why);
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
