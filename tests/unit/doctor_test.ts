/** What `hotboot doctor` says of what it finds. */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { judgeDisk } from "../../lib/doctor/disk.ts";
import { examine } from "../../lib/doctor/doctor.ts";
import { failed, type Finding } from "../../lib/doctor/finding.ts";
import { type HomeFacts, judgeHome } from "../../lib/doctor/home.ts";
import { sharedKind, sharedMount } from "../../lib/instance/network_home.ts";
import { judgeInstance } from "../../lib/doctor/instances.ts";
import { judgeMemory } from "../../lib/doctor/memory.ts";
import { judgeNetwork, judgeToken } from "../../lib/doctor/network.ts";
import { listenersOn, machinesIn } from "../../lib/doctor/processes.ts";
import { judgeAccelerators, judgeQemu } from "../../lib/doctor/qemu.ts";
import { judgeSnapshots } from "../../lib/doctor/snapshots.ts";
import { HostError, HotbootError } from "../../lib/base/error.ts";
import type { SnapshotInfo } from "../../lib/emulator/snapshots.ts";
import { refused, slow } from "../../lib/vm/accelerator.ts";
import { HOST_ARCH } from "../../lib/vm/arch.ts";
import { probeQemu, type QemuFacts } from "../../lib/vm/probe.ts";
import { testEmulator } from "./emulators.ts";
import { withDirectory } from "./temporary.ts";

const GIB = 2 ** 30;
const QEMU: QemuFacts = {
  program: "/usr/bin/qemu",
  version: "9.2.0",
  machineType: "pc-q35-9.2",
  machineTypes: [],
  accelerator: "tcg",
  cpuModel: "max",
  cpuFeatures: "",
};

/** Each finding's mark and id, and a part of what it says. */
const brief = (findings: Finding[]) => findings.map(({ mark, id, reason }) => `${mark} ${id}: ${reason}`);

Deno.test("doctor: an error that a start would throw is a failure, with what to do apart from what is wrong", () => {
  const own = failed("x", "X", new HostError("it is missing", "install it"));
  assertEquals(own, { id: "x", mark: "fail", title: "X", reason: "it is missing", fix: "install it" });
  assertEquals(failed("x", "X", new HotbootError("it is wrong: mend it")).reason, "it is wrong: mend it");
});

Deno.test("doctor: QEMU is shown with the engines that it can be used with", async () => {
  assertEquals((await judgeQemu(QEMU)).reason, "9.2.0, /usr/bin/qemu; engines instant and mapped-ram");
  assertMatch(
    (await judgeQemu({ ...QEMU, version: "7.2.22" })).reason,
    /; engine instant \(mapped-ram needs QEMU 9\.0,/,
  );
});

Deno.test("doctor: an accelerator works, with its speed, or is not used, with the reason and the remedy", () => {
  const of = (facts: Partial<QemuFacts>) => brief(judgeAccelerators({ ...QEMU, ...facts }, HOST_ARCH));
  assertEquals(of({ accelerator: "kvm", speed: 23.4 }), [
    "ok accelerator.kvm: kvm works, 23 times as fast as emulation",
  ]);
  assertEquals(of({ accelerator: "hvf", speed: 1e6 }), [
    "ok accelerator.hvf: hvf works, more than 100 times as fast as emulation",
  ]);
  assertEquals(of({ accelerator: "kvm" }), ["ok accelerator.kvm: kvm works"]);
  assertEquals(of({ accelerator: "kvm", slowdown: 3 }), [
    "warn accelerator.kvm: kvm, which HOTBOOT_ACCEL names, is 3.0 times slower than emulation here",
  ]);
  const denied = judgeAccelerators({
    ...QEMU,
    passedOver: refused("kvm", new HotbootError("Could not access KVM kernel module: Permission denied")),
  }, HOST_ARCH);
  assertEquals(brief(denied).slice(0, 1), ["warn accelerator.kvm: kvm is not used: you may not open /dev/kvm"]);
  assertMatch(denied[0].fix!, /usermod -aG kvm .*KERNEL=="kvm", GROUP="kvm", MODE="0666"/);
  assertEquals(denied[1].mark, "ok");
  assertMatch(of({ passedOver: slow("kvm", 30) })[0], /^warn accelerator\.kvm: kvm is not used: it is 30 times slower/);
  const other = HOST_ARCH === "amd64" ? "arm64" : "amd64";
  assertMatch(brief(judgeAccelerators(QEMU, other))[0], /^warn accelerator\.tcg: tcg emulates the \w+ guest's CPUs/);
});

Deno.test("doctor: a guest that wants more memory than there is fails where the system is strict; more than is free is a warning", () => {
  const mark = (total: number, available: number, { runs = false, isLimited = true } = {}) =>
    judgeMemory({ total: total * GIB, available: available * GIB, wanted: 4 * GIB, runs, isLimited }).mark;
  assertEquals([mark(8, 6), mark(8, 3), mark(3, 3)], ["ok", "warn", "fail"]);
  assertEquals([mark(8, 3, { runs: true }), mark(3, 3, { isLimited: false })], ["ok", "warn"]);
});

Deno.test("doctor: a disk must have room for the image, and should have it for a snapshot and a session", () => {
  const session = { what: "a suspended session", bytes: 4 * GIB };
  const image = { what: "the image", bytes: 2 * GIB, isForStart: true };
  const judge = (free: number, needs = [session]) =>
    judgeDisk({ place: "/h", free: free * GIB, spare: GIB / 64, needs });
  assertEquals(
    [judge(5), judge(2), judge(0.01), judge(2, [image]), judge(3, [image]), judge(0.5, [])].map(({ mark }) => mark),
    [
      ...["ok", "warn", "fail", "fail", "ok", "warn"],
    ] as Finding["mark"][],
  );
  assertEquals(judge(2).reason, "only 2.0 GB free for /h, for a suspended session (at most 4.0 GB)");
  assertEquals(judge(3, [session, image]).mark, "warn");
});

Deno.test("doctor: a home that other machines can reach is refused, and only such a home", () => {
  const types = [0x6969, 0xff534d42, 0xff534d42 | 0, 0x0bd00bd0, 0x01021997, 0xef53, 0x01021994, 0x9123683e];
  assertEquals(types.map(sharedKind), ["NFS", "SMB", "SMB", "Lustre", "9P", undefined, undefined, undefined]);
  const mounts = [
    "8:1 ext4 /dev/sda1 rw",
    "0:44 fuse.sshfs me@there:/d rw",
    "0:301 virtiofs d rw",
    "0:45 fuse.gocryptfs /d rw",
  ];
  const devices = [0x801, 44, (301 & 0xff) | (301 & 0xfff00) << 12, 45, 46];
  assertEquals(devices.map((device) => sharedMount(device, mounts)), [
    ...[undefined, "fuse.sshfs", "virtiofs", undefined, undefined],
  ]);
  const facts: HomeFacts = { root: "/h", owner: 1, user: 1, open: [], keepsHoles: true };
  const [shared] = judgeHome({ ...facts, shared: { path: "/h/instances", kind: "NFS" } });
  assertEquals([shared.id, shared.mark], ["home.shared", "fail"]);
  assertMatch(shared.fix!, /HOTBOOT_HOME/);
});

Deno.test("doctor: a home of another user, one that others may enter, and one without holes are told", () => {
  const home: HomeFacts = { root: "/h", owner: 1000, user: 1000, open: [], keepsHoles: true };
  assertEquals(brief(judgeHome(home)), ["ok home: /h"]);
  const all = judgeHome({ ...home, user: 0, open: ["/h/instances"], keepsHoles: false });
  assertEquals(all.map(({ mark, id }) => `${mark} ${id}`), [
    "warn home",
    "warn home.open.instances",
    "warn home.holes",
    "warn user",
  ]);
  assertEquals(all[1].fix, "run 'chmod 700 /h/instances'");
});

Deno.test("doctor: an instance that keeps its start from working is a failure, another one a warning", () => {
  const judge = (info: Partial<Parameters<typeof judgeInstance>[0]>, own?: string) =>
    judgeInstance({ instance: "a", state: "stopped", bytes: 0, ...info }, own).mark;
  const why = "it cannot be read";
  assertEquals(
    [
      judge({}, "demo"),
      judge({ state: "damaged", why }, "demo"),
      judge({ state: "damaged", why }),
      judge({ state: "unresponsive", why }, "demo"),
      judge({ state: "abandoned", why }, "demo"),
      judge({ state: "suspended", profile: "demo" }, "demo"),
      judge({ state: "suspended", profile: "other" }, "demo"),
      judge({ state: "suspended", profile: "other" }),
    ],
    ["ok", "fail", "warn", "fail", "warn", "ok", "fail", "ok"],
  );
});

Deno.test("doctor: of the snapshots it says which one a start resumes, and what is wrong with the others", () => {
  const one = (id: string, state: SnapshotInfo["state"], more: Partial<SnapshotInfo> = {}): SnapshotInfo => {
    const why = state === "usable" ? undefined : "its memory differs";
    const sizes = { bytes: 1024, apparentBytes: 1024, usedBy: [] };
    return { id, kind: "snapshot", profile: "demo", arch: "amd64", state, ...sizes, ...(why && { why }), ...more };
  };
  assertEquals(brief(judgeSnapshots([])), ["info snapshot: none: the first start boots the guest, and captures one"]);
  const found = judgeSnapshots([one("4", "unusable"), one("3", "usable"), one("2", "usable"), one("1", "unusable")]);
  assertEquals(brief(found), [
    "warn snapshot.4: 4 does not fit here: its memory differs (1.0 KB)",
    "ok snapshot.3: 3 fits: the next fresh start resumes it (1.0 KB)",
    "info snapshot.2: 2 is older than 3 (1.0 KB)",
    "info snapshot.1: 1 does not fit here: its memory differs (1.0 KB)",
  ]);
  const checkpoint = { kind: "checkpoint", name: "before" } as const;
  const forAFork = one("00", "unusable", { kind: "checkpoint" });
  const others = judgeSnapshots([one("2", "damaged"), one("1", "unknown"), one("0", "unusable", checkpoint), forAFork]);
  assertEquals(
    others.map(({ mark, title, reason, fix = "" }) => `${mark} ${title} ${reason.split(" ")[0]} ${fix}`.trimEnd()),
    [
      "warn snapshot 2 'hotboot snapshot rm 2' removes it",
      "info snapshot 1",
      "warn checkpoint before",
      "info checkpoint 00",
    ],
  );
});

Deno.test("doctor: no token and no proxy's password is in what it says", () => {
  const token = judgeToken({ value: "ghp_secret", from: "GITHUB_TOKEN" }, "acme/shop");
  assertEquals(token, { id: "token", mark: "ok", title: "GitHub token", reason: "from GITHUB_TOKEN" });
  assertMatch(judgeToken(undefined, "acme/shop").fix!, /gh auth login/);
  assertEquals(judgeToken(undefined).fix, undefined);
  const variables = { HTTPS_PROXY: "http://ann:secret@proxy:3128", no_proxy: "localhost" };
  assertEquals(brief(judgeNetwork({ variables, caCerts: [], faults: ["SSL_CERT_FILE is 'x', which is missing"] })), [
    "ok proxies: HTTPS_PROXY proxy:3128, but for localhost",
    "warn certificates: SSL_CERT_FILE is 'x', which is missing",
  ]);
});

Deno.test("doctor: a home's own QEMUs are told from others by where they write, whatever else a process says", () => {
  const uuid = "01234567-89ab-cdef-0123-456789abcdef";
  const line = (pid: number, path: string) =>
    `${pid} /usr/bin/qemu-system-x86_64 -name guest=hotboot-a -uuid ${uuid} -chardev file,id=serial,path=${path},append=on -S`;
  const lines = [
    line(1, "/h,,ome/instances/a/serial.log"),
    line(2, "/other/instances/a/serial.log"),
    line(3, "/h,,ome/instances/../serial.log"),
    line(4, "/h,,ome/instances/.spare-demo-amd64/serial.log"),
    "5 grep guest=hotboot- file,id=serial,path=/h,,ome/instances/a/serial.log,",
    "",
  ];
  assertEquals(machinesIn(lines, "/h,ome/instances"), [
    { pid: 1, instance: "a", uuid },
    { pid: 4, instance: ".spare-demo-amd64", uuid },
  ]);
});

Deno.test("doctor: whoever listens on a port is named", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const found = await listenersOn([port]);
  assertEquals([found.size, found.get(port)?.pid], [1, Deno.pid]);
});

Deno.test("doctor: without QEMU on PATH it says what to install, and a home that cannot be used does not end it", () =>
  withDirectory(async (directory) => {
    const path = Deno.env.get("PATH")!;
    try {
      Deno.env.set("PATH", directory);
      const emulator = await testEmulator(directory);
      const { starts, findings } = await examine(emulator, {});
      const qemu = findings.find(({ id }) => id === "qemu");
      assertEquals([starts, qemu?.mark], [false, "fail"]);
      assertMatch(qemu!.fix!, /apt install qemu-system-\w+/);
    } finally {
      Deno.env.set("PATH", path);
    }
    await Deno.writeTextFile(`${directory}/file`, "");
    const { findings } = await examine(await testEmulator(`${directory}/file`), {});
    const home = findings.find(({ id }) => id === "home");
    assertEquals(home?.mark, "fail");
  }));

Deno.test("doctor: a QEMU that is too old is refused by a start, with its version", () =>
  withDirectory(async (directory) => {
    const program = `${directory}/qemu`;
    const greeting = { QMP: { version: { qemu: { major: 6, minor: 2, micro: 0 } } } };
    const machines = { id: "machines", return: [{ name: "pc-q35-6.2", alias: "q35" }] };
    const answers = [greeting, machines].map((each) => JSON.stringify(each)).join("\n");
    await Deno.writeTextFile(program, `#!/bin/sh\ncat <<'END'\n${answers}\nEND\n`, { mode: 0o755 });
    const cache = { facts: `${directory}/facts`, guest: `${directory}/guest` };
    await assertRejects(
      () => probeQemu(program, "amd64", cache, { accelerator: "tcg" }),
      HostError,
      `${program} is QEMU 6.2.0, and hotboot needs 7.2 or later: install a newer one`,
    );
  }));
