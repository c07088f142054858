/**
 * A virtual machine as data, and the QEMU arguments that build it.
 *
 * Cold boot, capture and resume all use this one function, so the device layout is the same in each: QEMU loads
 * device state only into the devices that it was saved from.
 *
 * Source: QEMU's documentation, "Invocation" (docs/system/invocation) and "VM templating" (docs/system/vm-templating).
 */

import type { Arch } from "./arch.ts";
import { option } from "./option.ts";
import { shareArguments, type SharedDirectory, SPARE_SLOT } from "./share.ts";

/** Where the guest's RAM lives. */
export type Memory =
  /** QEMU's own memory, which ends with it. */
  | { kind: "anonymous" }
  /** A file that holds every byte the guest writes. */
  | { kind: "shared"; path: string }
  /** A file that is read page by page and never written: the guest's writes stay in QEMU. */
  | { kind: "private"; path: string };

/** Where QEMU listens, and where it writes what the guest prints. Absolute paths. */
export interface Channels {
  /** The monitor's unix socket. */
  monitor: string;
  /** The guest agent's unix socket. */
  agent: string;
  /**
   * The unix socket on which the program that starts QEMU listens, until it has reached the monitor. If that program was killed
   * meanwhile, nobody listens, and QEMU ends by itself: it would be one that nobody knows.
   */
  launcher: string;
  /** The serial console's output. */
  serialLog: string;
}

/** Everything that decides what the guest sees. */
export interface Machine {
  /** The guest's architecture. */
  arch: Arch;
  /** A versioned machine type: `pc-q35-7.2`. */
  machineType: string;
  /** `tcg`, `kvm` or `hvf`. */
  accelerator: string;
  /** A QEMU CPU model: `max`, `host`. */
  cpuModel: string;
  /** RAM, in MiB. */
  memoryMiB: number;
  /** Virtual CPUs. */
  cpus: number;
  /** The kernel to boot directly; absent to use the disk's own boot loader. */
  kernel?: { path: string; initrd?: string; append: string };
  /** UEFI firmware for that boot loader, if the machine type has none. */
  firmware?: string;
  /** The disk, qcow2. */
  disk: string;
  /** A second disk, raw and read-only. */
  configDisk?: string;
  /** TCP forwards from the host's 127.0.0.1 into the guest. */
  forwards: { host: number; guest: number }[];
  /** Whether the guest is cut off: only the forwards lead in, and nothing leads out. */
  restricted: boolean;
  /** Devices that exist only while the image is made; all others are already where they will be later. */
  provisioning?: {
    /** Further disks, raw and read-only. */
    disks: string[];
    /** The file that gets what the guest writes to its port `hotboot.progress`. */
    progressLog: string;
  };
  /** What the host shares with the guest, once it is plugged in. */
  share?: SharedDirectory;
}

/** What differs from one launch of a machine to the next, and the guest must not notice. */
export interface Launch {
  /** Names the machine in process lists. */
  name: string;
  /** This process's own identity, checked over QMP before anything is done to it. */
  uuid: string;
  /** Where RAM lives. */
  memory: Memory;
  /** Wait for device state (`migrate-incoming`) instead of booting. */
  incoming: boolean;
  /** Wait for `cont` before anything runs. */
  paused?: boolean;
  /** Sockets and logs. */
  channels: Channels;
}

/** QEMU's name for the network that the guest is in. */
export const NETWORK = "net";

/** Linux's name for the machine's serial port. */
const SERIAL_CONSOLE: Record<Arch, string> = { amd64: "ttyS0", arm64: "ttyAMA0" };

/** A kernel's command line with the serial port as console, unless it names one itself. */
export function withConsole(arch: Arch, append = ""): string {
  return /(^|\s)console=/.test(append) ? append : `console=${SERIAL_CONSOLE[arch]} ${append}`.trim();
}

/** How many CPUs an arm64 machine's default interrupt controller (GICv2) can serve. */
const GICV2_CPUS = 8;

/** The machine without its devices, as QEMU arguments. */
function baseArguments(machine: Machine): string[] {
  const gic = machine.arch === "arm64" && machine.cpus > GICV2_CPUS ? 3 : undefined;
  return [
    // The versioned name: an alias such as q35 means another machine in the next QEMU. A core file would have its secrets.
    ...[
      "-machine",
      option(machine.machineType, { "dump-guest-core": "off", "gic-version": gic, "memory-backend": "ram" }),
    ],
    ...["-accel", machine.accelerator === "tcg" ? "tcg,thread=multi" : machine.accelerator],
    ...["-cpu", machine.cpuModel],
    ...["-m", `${machine.memoryMiB}M`],
    ...["-smp", String(machine.cpus)],
  ];
}

/** The devices that the guest sees, as QEMU arguments. */
export function deviceArguments(machine: Machine): string[] {
  return [
    // No device and no configuration that is not named here.
    "-nodefaults",
    "-no-user-config",
    ...["-display", "none"],
    ...["-device", "virtio-blk-pci,drive=disk"],
    ...(machine.configDisk ? ["-device", "virtio-blk-pci,drive=config"] : []),
    // No network boot ROM: nothing boots from it, and it would be one more block of memory to save.
    ...["-device", `virtio-net-pci,netdev=${NETWORK},romfile=`],
    ...["-device", "virtio-serial-pci"],
    ...["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"],
    ...["-object", "rng-builtin,id=rng"],
    ...["-device", "virtio-rng-pci,rng=rng"],
    // Tells the guest's kernel that it was resumed, so that it does not repeat its random numbers (Linux 5.18).
    ...(machine.arch === "amd64" ? ["-device", "vmgenid,guid=auto"] : []),
    // An empty slot, to plug in later what cannot be saved with a machine.
    ...["-device", `pcie-root-port,id=${SPARE_SLOT},chassis=1,slot=1`],
    ...["-serial", "chardev:serial"],
    ...(machine.provisioning?.disks ?? []).flatMap((_, index) => ["-device", `virtio-blk-pci,drive=extra${index}`]),
    ...(machine.provisioning ? ["-device", "virtserialport,chardev=progress,name=hotboot.progress"] : []),
  ];
}

/** The whole command line of a launch, without the program. */
export function qemuArguments(machine: Machine, launch: Launch): string[] {
  const { kernel, firmware, provisioning } = machine;
  const { channels } = launch;
  return [
    ...["-name", option("", { guest: launch.name })],
    ...["-uuid", launch.uuid],
    ...baseArguments(machine),
    ...deviceArguments(machine),
    // The first of the character devices, before QEMU takes the place of another one's sockets and opens a disk.
    ...["-chardev", option("socket", { id: "launcher", path: channels.launcher })],
    ...["-object", memoryArgument(machine.memoryMiB, launch.memory)],
    ...(kernel ? ["-kernel", kernel.path, "-append", kernel.append + emulatedArguments(machine)] : []),
    ...(kernel?.initrd ? ["-initrd", kernel.initrd] : []),
    // UEFI waits 5 s for a key by default, or as long as the menu is to be shown.
    ...(firmware ? ["-bios", firmware, "-boot", "menu=on,splash-time=0"] : []),
    // discard: what the guest trims does not stay in the overlay, which a snapshot keeps. werror: a guest whose disk cannot be
    // written is paused. By default a full disk does so, and not a full quota: the guest's file system would give up.
    ...[
      "-drive",
      option("", { id: "disk", if: "none", format: "qcow2", discard: "unmap", werror: "stop", file: machine.disk }),
    ],
    ...(machine.configDisk ? ["-drive", readOnlyDrive("config", machine.configDisk)] : []),
    ...(provisioning?.disks ?? []).flatMap((disk, index) => ["-drive", readOnlyDrive(`extra${index}`, disk)]),
    ...(provisioning ? ["-chardev", option("file", { id: "progress", path: provisioning.progressLog })] : []),
    ...["-netdev", netdevArgument(machine)],
    ...(machine.share ? shareArguments(machine.share) : []),
    // append: a shortened log continues at its new end.
    ...["-chardev", option("file", { id: "serial", path: channels.serialLog, append: "on" })],
    ...["-chardev", option("socket", { id: "agent", server: "on", wait: "off", path: channels.agent })],
    ...["-chardev", option("socket", { id: "monitor", server: "on", wait: "off", path: channels.monitor })],
    ...["-mon", "chardev=monitor,mode=control"],
    // seccomp: no new programs, no other user, no changed limits, no obsolete system calls. Linux only.
    ...(Deno.build.os === "linux"
      ? ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
      : []),
    // -S: the guest runs at `cont`, not as soon as its state is loaded.
    ...(launch.incoming || launch.paused ? ["-S"] : []),
    ...(launch.incoming ? ["-incoming", "defer"] : []),
  ];
}

/**
 * A PC's kernel tries at its start whether the timer interrupts it, and panics if it does not. On a busy host, it is late under
 * emulation. With hardware acceleration, Linux leaves that out by itself: `no_timer_check` in its "kernel-parameters".
 */
function emulatedArguments({ arch, accelerator }: Machine): string {
  return arch === "amd64" && accelerator === "tcg" ? " no_timer_check" : "";
}

function readOnlyDrive(id: string, file: string): string {
  return option("", { id, if: "none", format: "raw", readonly: "on", file });
}

function memoryArgument(memoryMiB: number, memory: Memory): string {
  const size = `${memoryMiB}M`;
  if (memory.kind === "anonymous") return option("memory-backend-ram", { id: "ram", size });
  const share = memory.kind === "shared" ? "on" : "off";
  return option("memory-backend-file", { id: "ram", size, share, "mem-path": memory.path });
}

function netdevArgument(machine: Machine): string {
  const forwards = machine.forwards.map(({ host, guest }) => `hostfwd=tcp:127.0.0.1:${host}-:${guest}`);
  return [`user,id=${NETWORK}`, ...(machine.restricted ? ["restrict=on"] : []), ...forwards].join(",");
}
