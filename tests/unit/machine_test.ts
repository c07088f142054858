import { assert, assertEquals } from "@std/assert";
import { deviceArguments, type Launch, type Machine, qemuArguments } from "../../lib/vm/machine.ts";
import { option } from "../../lib/vm/option.ts";

const MACHINE: Machine = {
  arch: "amd64",
  machineType: "pc-q35-7.2",
  accelerator: "tcg",
  cpuModel: "max",
  memoryMiB: 512,
  cpus: 2,
  kernel: { path: "/i/k", initrd: "/i/r", append: "console=ttyS0 a,b" },
  disk: "/h/disk.qcow2",
  forwards: [{ host: 20000, guest: 80 }, { host: 20001, guest: 443 }],
};

const LAUNCH: Launch = {
  name: "vm",
  uuid: "11111111-2222-3333-4444-555555555555",
  memory: { kind: "private", path: "/h/ram" },
  incoming: true,
  channels: { monitor: "/s/monitor.sock", agent: "/s/agent.sock", serialLog: "/h/serial.log" },
};

/** The values of every `flag`. */
function values(args: string[], flag: string): string[] {
  return args.flatMap((arg, index) => arg === flag ? [args[index + 1]] : []);
}

Deno.test("arguments: a comma in a value is doubled, and what is undefined is left out", () => {
  assertEquals(option("file", { id: "x", path: "/a,b,,c", none: undefined }), "file,id=x,path=/a,,b,,,,c");
  assertEquals(option("", { guest: "a" }), "guest=a");
});

Deno.test("arguments: every path may hold commas", () => {
  const path = "/home/a,b";
  const args = qemuArguments({ ...MACHINE, disk: `${path}/disk`, share: { path: `${path}/`, readOnly: true } }, {
    ...LAUNCH,
    memory: { kind: "shared", path: `${path}/ram` },
    channels: { monitor: `${path}/m`, agent: `${path}/a`, serialLog: `${path}/s` },
  });
  const withPath = args.filter((arg) => arg.includes("/home/"));
  assertEquals(withPath.length, 6);
  for (const arg of withPath) assert(/=\/home\/a,,b\//.test(arg), arg);
});

Deno.test("arguments: all three kinds of memory are the same backend to the machine", () => {
  const memory = (memory: Launch["memory"]) =>
    values(qemuArguments(MACHINE, { ...LAUNCH, memory }), "-object").find((value) => value.includes("id=ram"));
  assertEquals(memory({ kind: "anonymous" }), "memory-backend-ram,id=ram,size=512M");
  assertEquals(
    memory({ kind: "shared", path: "/r" }),
    "memory-backend-file,id=ram,size=512M,share=on,mem-path=/r",
  );
  assertEquals(
    memory({ kind: "private", path: "/r" }),
    "memory-backend-file,id=ram,size=512M,share=off,mem-path=/r",
  );
});

Deno.test("arguments: what the host shares is no device, and read-only unless it is to be written", () => {
  const share = { path: "/", readOnly: true };
  assertEquals(deviceArguments({ ...MACHINE, share }), deviceArguments(MACHINE));
  const given = (readOnly: boolean) =>
    values(qemuArguments({ ...MACHINE, share: { path: "/", readOnly } }, LAUNCH), "-fsdev");
  assertEquals(given(true), ["local,id=share,path=/,security_model=none,multidevs=remap,readonly=on"]);
  assertEquals(given(false), ["local,id=share,path=/,security_model=none,multidevs=remap"]);
  assertEquals(values(qemuArguments(MACHINE, LAUNCH), "-fsdev"), []);
});

Deno.test("arguments: forwards listen on the loopback address only", () => {
  const [netdev] = values(qemuArguments(MACHINE, LAUNCH), "-netdev");
  assertEquals(netdev, "user,id=net,hostfwd=tcp:127.0.0.1:20000-:80,hostfwd=tcp:127.0.0.1:20001-:443");
});

Deno.test("arguments: cold boot and resume have the same devices, and only a resume waits for state", () => {
  const cold = qemuArguments(MACHINE, { ...LAUNCH, incoming: false, memory: { kind: "anonymous" } });
  const resumed = qemuArguments(MACHINE, LAUNCH);
  assertEquals(values(cold, "-device"), values(resumed, "-device"));
  assertEquals(values(cold, "-machine"), ["pc-q35-7.2,memory-backend=ram"]);
  assertEquals(values(cold, "-incoming"), []);
  assertEquals(values(resumed, "-incoming"), ["defer"]);
  const paused = qemuArguments(MACHINE, { ...LAUNCH, incoming: false, paused: true });
  assertEquals([cold, resumed, paused].map((args) => args.includes("-S")), [false, true, true]);
});

Deno.test("arguments: nothing by default, no privileges to gain, a monitor that is ours", () => {
  const args = qemuArguments(MACHINE, LAUNCH);
  assert(args.includes("-nodefaults") && args.includes("-no-user-config"));
  assertEquals(values(args, "-mon"), ["chardev=monitor,mode=control"]);
  assertEquals(values(args, "-uuid"), [LAUNCH.uuid]);
  if (Deno.build.os === "linux") {
    assertEquals(values(args, "-sandbox"), [
      "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    ]);
  }
});

Deno.test("arguments: a disk with its own boot loader has no kernel; the kernel's command line is one argument", () => {
  const { kernel: _, ...bootable } = MACHINE;
  assertEquals(values(qemuArguments(bootable, LAUNCH), "-kernel"), []);
  const args = qemuArguments(MACHINE, LAUNCH);
  assertEquals(values(args, "-append"), ["console=ttyS0 a,b"]);
  assertEquals(values(args, "-initrd"), ["/i/r"]);
});

Deno.test("arguments: only amd64 has a vmgenid, which is an ACPI device of the PC", () => {
  const devices = (arch: Machine["arch"]) => values(qemuArguments({ ...MACHINE, arch }, LAUNCH), "-device");
  assert(devices("amd64").includes("vmgenid,guid=auto"));
  assert(!devices("arm64").some((device) => device.startsWith("vmgenid")));
});
