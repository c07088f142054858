import { assert, assertEquals } from "@std/assert";
import { deviceArguments, type Launch, type Machine, qemuArguments, withConsole } from "../../lib/vm/machine.ts";
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
  restricted: false,
};

const LAUNCH: Launch = {
  name: "vm",
  uuid: "11111111-2222-3333-4444-555555555555",
  memory: { kind: "private", path: "/h/ram" },
  incoming: true,
  channels: {
    monitor: "/s/monitor.sock",
    agent: "/s/agent.sock",
    launcher: "/s/launcher.sock",
    serialLog: "/h/serial.log",
  },
};

/** The values of every `flag`. */
function values(args: string[], flag: string): string[] {
  return args.flatMap((arg, index) => arg === flag ? [args[index + 1]] : []);
}

Deno.test("arguments: a comma in a value is doubled, and undefined values are left out", () => {
  assertEquals(option("file", { id: "x", path: "/a,b,,c", none: undefined }), "file,id=x,path=/a,,b,,,,c");
  assertEquals(option("", { guest: "a" }), "guest=a");
});

Deno.test("arguments: every path may contain commas", () => {
  const path = "/home/a,b";
  const args = qemuArguments({ ...MACHINE, disk: `${path}/disk`, share: { path: `${path}/`, readOnly: true } }, {
    ...LAUNCH,
    memory: { kind: "shared", path: `${path}/ram` },
    channels: { monitor: `${path}/m`, agent: `${path}/a`, launcher: `${path}/l`, serialLog: `${path}/s` },
  });
  const withPath = args.filter((arg) => arg.includes("/home/"));
  assertEquals(withPath.length, 7);
  for (const arg of withPath) assert(/=\/home\/a,,b\//.test(arg), arg);
});

Deno.test("arguments: all three kinds of memory have the same backend id", () => {
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

Deno.test("arguments: devices for building an image come last, and all others keep their places", () => {
  const provisioning = { disks: ["/h/seed,1.iso", "/h/bundle.iso"], progressLog: "/h/progress,log" };
  const machine = { ...MACHINE, configDisk: "/h/config.iso" };
  const devices = (args: string[]) => values(args, "-device");
  const before = qemuArguments(machine, LAUNCH);
  const args = qemuArguments({ ...machine, provisioning }, LAUNCH);
  assertEquals(devices(args), [
    ...devices(before),
    "virtio-blk-pci,drive=extra0",
    "virtio-blk-pci,drive=extra1",
    "virtserialport,chardev=progress,name=hotboot.progress",
  ]);
  assertEquals(values(args, "-drive").filter((drive) => drive.includes("id=extra")), [
    "id=extra0,if=none,format=raw,readonly=on,file=/h/seed,,1.iso",
    "id=extra1,if=none,format=raw,readonly=on,file=/h/bundle.iso",
  ]);
  assert(values(args, "-chardev").includes("file,id=progress,path=/h/progress,,log"));
});

Deno.test("arguments: the host's share is not a device, and it is read-only unless the profile says otherwise", () => {
  const share = { path: "/", readOnly: true };
  assertEquals(deviceArguments({ ...MACHINE, share }), deviceArguments(MACHINE));
  const given = (readOnly: boolean) =>
    values(qemuArguments({ ...MACHINE, share: { path: "/", readOnly } }, LAUNCH), "-fsdev");
  assertEquals(given(true), ["local,id=share,path=/,security_model=none,multidevs=forbid,readonly=on"]);
  assertEquals(given(false), ["local,id=share,path=/,security_model=none,multidevs=forbid"]);
  assertEquals(values(qemuArguments(MACHINE, LAUNCH), "-fsdev"), []);
});

Deno.test("arguments: forwards listen on the loopback address only", () => {
  const [netdev] = values(qemuArguments(MACHINE, LAUNCH), "-netdev");
  assertEquals(netdev, "user,id=net,hostfwd=tcp:127.0.0.1:20000-:80,hostfwd=tcp:127.0.0.1:20001-:443");
});

Deno.test("arguments: a restricted network has the same forwards and devices, and no other way out", () => {
  const restricted = qemuArguments({ ...MACHINE, restricted: true }, LAUNCH);
  const [netdev] = values(restricted, "-netdev");
  assertEquals(
    netdev,
    "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:20000-:80,hostfwd=tcp:127.0.0.1:20001-:443",
  );
  assertEquals(values(restricted, "-device"), values(qemuArguments(MACHINE, LAUNCH), "-device"));
});

Deno.test("arguments: cold boot and resume have the same devices, and only a resume waits for state", () => {
  const cold = qemuArguments(MACHINE, { ...LAUNCH, incoming: false, memory: { kind: "anonymous" } });
  const resumed = qemuArguments(MACHINE, LAUNCH);
  assertEquals(values(cold, "-device"), values(resumed, "-device"));
  assertEquals(values(cold, "-machine"), ["pc-q35-7.2,dump-guest-core=off,memory-backend=ram"]);
  assertEquals(values(cold, "-incoming"), []);
  assertEquals(values(resumed, "-incoming"), ["defer"]);
  const paused = qemuArguments(MACHINE, { ...LAUNCH, incoming: false, paused: true });
  assertEquals([cold, resumed, paused].map((args) => args.includes("-S")), [false, true, true]);
});

Deno.test("arguments: a guest whose disk cannot be written is paused, whatever the host's reason", () => {
  const [disk] = values(qemuArguments(MACHINE, LAUNCH), "-drive");
  assert(disk.startsWith("id=disk,") && disk.includes(",werror=stop,"), disk);
});

Deno.test("arguments: no defaults, no way to gain privileges, and only our monitor", () => {
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
  assertEquals(values(args, "-append"), ["console=ttyS0 a,b no_timer_check"]);
  assertEquals(values(args, "-initrd"), ["/i/r"]);
});

Deno.test("arguments: only amd64 has a vmgenid, an ACPI device of the PC", () => {
  const devices = (arch: Machine["arch"]) => values(qemuArguments({ ...MACHINE, arch }, LAUNCH), "-device");
  assert(devices("amd64").includes("vmgenid,guid=auto"));
  assert(!devices("arm64").some((device) => device.startsWith("vmgenid")));
});

Deno.test("arguments: only an emulated PC's kernel leaves out the check of its timer, of which it may panic", () => {
  const append = (different: Partial<Machine>) =>
    values(qemuArguments({ ...MACHINE, ...different }, LAUNCH), "-append");
  assertEquals(append({ accelerator: "kvm" }), ["console=ttyS0 a,b"]);
  assertEquals(append({ arch: "arm64" }), ["console=ttyS0 a,b"]);
});

Deno.test("arguments: the console is the machine's serial port, unless the profile names one", () => {
  assertEquals(withConsole("amd64", "quiet"), "console=ttyS0 quiet");
  assertEquals(withConsole("arm64", "quiet"), "console=ttyAMA0 quiet");
  assertEquals(withConsole("arm64"), "console=ttyAMA0");
  assertEquals(withConsole("arm64", "quiet console=hvc0"), "quiet console=hvc0");
  assertEquals(withConsole("amd64", "netconsole=off"), "console=ttyS0 netconsole=off");
});

Deno.test("arguments: firmware is loaded if there is any, and does not wait for a key", () => {
  assertEquals(values(qemuArguments(MACHINE, LAUNCH), "-bios"), []);
  const { kernel: _, ...bootable } = { ...MACHINE, arch: "arm64" as const, firmware: "/f/QEMU_EFI.fd" };
  const args = qemuArguments(bootable, LAUNCH);
  assertEquals(values(args, "-bios"), ["/f/QEMU_EFI.fd"]);
  assertEquals(values(args, "-boot"), ["menu=on,splash-time=0"]);
});

Deno.test("arguments: arm64 with more than eight CPUs gets the newer interrupt controller", () => {
  const machine = (arch: Machine["arch"], cpus: number) =>
    values(qemuArguments({ ...MACHINE, arch, cpus, machineType: "m" }, LAUNCH), "-machine");
  assertEquals(machine("arm64", 8), ["m,dump-guest-core=off,memory-backend=ram"]);
  assertEquals(machine("arm64", 9), ["m,dump-guest-core=off,gic-version=3,memory-backend=ram"]);
  assertEquals(machine("amd64", 9), ["m,dump-guest-core=off,memory-backend=ram"]);
});
