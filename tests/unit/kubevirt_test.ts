/** What `export kubevirt` prints, checked against the types that are generated from KubeVirt's and Kubernetes' own schemas. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { importArguments, ROOT } from "../../dev/deno.ts";
import { HotbootError } from "../../lib/base/error.ts";
import { exportKubeVirt, type KubernetesObject, type KubeVirtOptions } from "../../lib/emulator/kubevirt.ts";
import { type Emulator, openEmulator } from "../../lib/instance/emulator.ts";
import type { Profile } from "../../lib/profile/profile.ts";
import { withDirectory } from "./temporary.ts";

const IMAGE = `registry.example.com:5000/team/shop@sha256:${"a".repeat(64)}`;
const TYPES: Record<string, string> = {
  VirtualMachine: "V1VirtualMachine",
  Service: "IoK8sApiCoreV1Service",
  Secret: "IoK8sApiCoreV1Secret",
  NetworkPolicy: "IoK8sApiNetworkingV1NetworkPolicy",
};

/** The demo with an image, of which only the names and sizes count. */
async function demo(directory: string, parts: string[], change: Partial<Profile> = {}, instance?: string) {
  const emulator = await openEmulator({ profile: "demo", home: `${directory}/home`, instance, arch: "amd64" });
  await Deno.mkdir(emulator.home.images, { recursive: true });
  const files: Record<string, object> = {};
  for (const [part, end] of Object.entries({ disk: "qcow2", kernel: "kernel", initrd: "initrd" })) {
    if (!parts.includes(part)) continue;
    await Deno.writeTextFile(`${emulator.home.images}/demo-amd64.${end}`, "");
    files[part] = { size: 0, mtime: 0, ctime: 0, sha256: "b".repeat(64) };
  }
  const record = { origin: { kind: "adopted" }, created: "2026-01-01T00:00:00.000Z", files };
  await Deno.writeTextFile(`${emulator.home.images}/demo-amd64.json`, JSON.stringify(record));
  return { ...emulator, profile: { ...emulator.profile, ...change } };
}

const printed = (emulator: Emulator, options: KubeVirtOptions = {}) =>
  exportKubeVirt(emulator, { image: `oci://${IMAGE}`, ...options });

const ofKind = (objects: KubernetesObject[], kind: string) => objects.filter((each) => each.kind === kind);

// deno-lint-ignore no-explicit-any -- the types are checked below
const machineIn = (objects: KubernetesObject[]): any =>
  // deno-lint-ignore no-explicit-any
  (ofKind(objects, "VirtualMachine")[0].spec as any).template.spec;

/** What the types' generator makes of "a number or a string": the one schema's is `string`, the other's is left out. */
function asGenerated(key: string, value: unknown): unknown {
  if (key === "targetPort") return String(value);
  if (key === "httpGet" || key === "tcpSocket") return { ...value as object, port: undefined };
  return value;
}

/** What the compiler says about the objects as literals: it also finds fields that no schema has. */
async function faults(directory: string, objects: object[]): Promise<string> {
  const path = `${directory}/printed.ts`;
  await Deno.writeTextFile(
    path,
    [
      `import type { V1VirtualMachine } from "@kubevirt-ui-ext/kubevirt-api/kubevirt";`,
      `import type { ${Object.values(TYPES).slice(1).join(", ")} } from "@kubevirt-ui-ext/kubevirt-api/kubernetes";`,
      ...objects.map((each, index) =>
        `export const o${index}: ${TYPES[(each as KubernetesObject).kind]} = ${JSON.stringify(each, asGenerated)};`
      ),
    ].join("\n"),
  );
  const args = ["check", "-q", "--config", `${ROOT}deno.json`, ...await importArguments(), path];
  const { success, stderr } = await new Deno.Command(Deno.execPath(), { args, env: { NO_COLOR: "1" } }).output();
  return success ? "" : new TextDecoder().decode(stderr);
}

Deno.test("kubevirt: all that is printed fits the schemas of KubeVirt and Kubernetes", () =>
  withDirectory(async (directory) => {
    const whole = await printed(await demo(directory, ["disk", "kernel", "initrd"]), { secrets: true });
    const machine = (await demo(directory, ["disk"])).profile.machine;
    const bare = await printed(
      await demo(directory, ["disk"], {
        secrets: undefined,
        rotation: undefined,
        config: undefined,
        machine: { ...machine, network: "restricted" },
      }, "shop-2"),
    );
    assertEquals(whole.map(({ kind }) => kind), ["Secret", "Secret", "VirtualMachine", "Service"]);
    assertEquals(bare.map(({ kind }) => kind), ["VirtualMachine", "Service", "NetworkPolicy"]);
    assertEquals(await faults(directory, [...whole, ...bare]), "");
    const wrong = structuredClone(bare);
    machineIn(wrong).domain.devices.disks[0].disk.buss = "virtio";
    machineIn(wrong).domain.cpu.cores = "2";
    const said = await faults(directory, wrong);
    assertMatch(said, /"buss"' does not exist/);
    assertMatch(said, /'string' is not assignable to type 'number'/);
  }));

Deno.test("kubevirt: the machine is the profile's", () =>
  withDirectory(async (directory) => {
    const emulator = await demo(directory, ["disk", "kernel", "initrd"]);
    const objects = await printed(emulator, { secrets: true });
    const [secrets, config] = ofKind(objects, "Secret");
    assertEquals(Object.keys(secrets.stringData!), emulator.profile.secrets!.map(({ name }) => name));
    assertEquals(new Set(Object.values(secrets.stringData!)).size, 4);
    assertMatch(atob(config.data!["runtime.env"]), /^BACKEND_URL=http:\/\/127\.0\.0\.1:26801$/m);
    const { architecture, domain, volumes, readinessProbe } = machineIn(objects);
    assertEquals([architecture, domain.cpu.cores, domain.memory.guest], ["amd64", 2, "1024Mi"]);
    assertEquals(domain.firmware.kernelBoot, {
      container: { image: IMAGE, kernelPath: "/boot/kernel", initrdPath: "/boot/initrd" },
      kernelArgs: "console=ttyS0 root=/dev/vda rw quiet",
    });
    assertEquals(volumes, [
      { name: "disk", containerDisk: { image: IMAGE } },
      { name: "config", secret: { secretName: "demo-config", volumeLabel: "DEMOCFG" } },
      { name: "secrets", secret: { secretName: "demo-secrets", volumeLabel: "HOTBOOT_SECRETS" } },
    ]);
    const text = JSON.stringify(readinessProbe);
    assertMatch(text, /trigger-fast-rotate/);
    for (const value of Object.values(secrets.stringData!)) assert(!text.includes(value));
    assertEquals(ofKind(objects, "Service")[0].spec!.ports, [
      { name: "dashboard", port: 26800, targetPort: 8101 },
      { name: "backend", port: 26801, targetPort: 8102 },
    ]);
  }));

Deno.test("kubevirt: without secrets, the first health check is the probe", () =>
  withDirectory(async (directory) => {
    const probe = async (status?: number) => {
      const health = [{ name: "backend", port: "backend", path: "/health?db=1", ...(status && { status }) }];
      const emulator = await demo(directory, ["disk"], { secrets: undefined, rotation: undefined, health });
      return machineIn(await printed(emulator)).readinessProbe;
    };
    assertEquals(await probe(), { httpGet: { port: 8102, path: "/health?db=1" } });
    assertEquals(await probe(401), { tcpSocket: { port: 8102 } });
  }));

Deno.test("kubevirt: Kubernetes changes nothing in the probe's script", () =>
  withDirectory(async (directory) => {
    const { rotation } = (await demo(directory, ["disk"])).profile;
    const command = ["sh", "-c", "echo $$ $(date) $HOME $$$(id)"];
    const emulator = await demo(directory, ["disk"], { rotation: { ...rotation!, command } });
    const [, , script] = machineIn(await printed(emulator)).readinessProbe.exec.command;
    const expanded = script.replaceAll(/\$\$|\$\(\w+\)/g, (found: string) => found === "$$" ? "$" : "");
    assert(expanded.includes(command[2]), script);
    assert(expanded.includes("=$(cat $file);"), script);
    for (const odd of ['say "x"', "it's", "a\\b", "a\nb"]) {
      const emulator = await demo(directory, ["disk"], { rotation: { ...rotation!, command: ["sh", "-c", odd] } });
      await assertRejects(() => printed(emulator), HotbootError, "put such a command into a program of the guest");
    }
  }));

Deno.test("kubevirt: names of ports that Kubernetes refuses are replaced", () =>
  withDirectory(async (directory) => {
    const ports = {
      "API_v1": { guest: 1, host: 20001 },
      "a-name-of-16-char": { guest: 2, host: 20002 },
      "8080": { guest: 3, host: 20003 },
      "web": { guest: 4, host: 20004 },
    };
    const emulator = await demo(directory, ["disk"], { ports, health: [], secrets: undefined, config: undefined });
    const { interfaces: [{ ports: named }] } = machineIn(await printed(emulator)).domain.devices;
    assertEquals(named.map(({ name }: { name: string }) => name), ["port-3", "port-1", "port-2", "web"]);
  }));

Deno.test("kubevirt: what cannot be is refused, with what to type", () =>
  withDirectory(async (directory) => {
    const emulator = await demo(directory, ["disk"]);
    const refuses = (emulator: Emulator, options: KubeVirtOptions, why: string) =>
      assertRejects(() => printed(emulator, options), HotbootError, why);
    await refuses(emulator, { image: undefined }, "names no registry: name the image with --image");
    await refuses(
      emulator,
      { image: "oci://example.com/a:main" },
      "may be another image tomorrow: name it with its digest",
    );
    await refuses(await demo(directory, ["disk"], {}, "2nd"), {}, "cannot name a Service of Kubernetes: name another");
    await refuses(await demo(directory, ["disk"], { secrets: undefined }), { secrets: true }, "leave out --secrets");
    const config = (name: string, line: string) => ({ config: { label: "X", files: { [name]: [line] } } });
    await refuses(await demo(directory, ["disk"], config("a b", "")), {}, "a Secret has no such key: name it");
    await refuses(
      await demo(directory, ["disk"], config("a", "D=${instance.directory}")),
      {},
      "no ${instance.directory} in a cluster",
    );
    await Deno.remove(`${emulator.home.images}/demo-amd64.json`);
    await Deno.remove(`${emulator.home.images}/demo-amd64.qcow2`);
    await refuses(
      emulator,
      {},
      "there is no image of 'demo' here, which tells whether a kernel is beside the disk: 'hotboot build'",
    );
  }));
