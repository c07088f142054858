/**
 * What `export kubevirt` prints, in a plain QEMU: with the disks that KubeVirt makes of Secrets, behind the Service's ports,
 * and with the probe run by the guest agent. There is no cluster: what KubeVirt itself does is not tested.
 */
// needs: demo

import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { decodeBase64 } from "@std/encoding/base64";
import { sleep } from "../../lib/base/wait.ts";
import { GuestAgent } from "../../lib/vm/guest_agent.ts";
import { GuestHome } from "./guest_home.ts";
import { ARCH, QEMU } from "./qemu.ts";
import { until } from "./pace.ts";
import { tool } from "./snapshots.ts";

const IMAGE = `oci://registry.example.com/team/demo@sha256:${"a".repeat(64)}`;
const BACKEND = "/api/v1/projects/current";

/** The disk that KubeVirt makes of a Secret: a file for each key. */
// deno-lint-ignore no-explicit-any
async function diskOf(directory: string, secret: any, label: string): Promise<string> {
  const path = `${directory}/${secret.metadata.name}`;
  await Deno.mkdir(path);
  for (const [name, text] of Object.entries<string>(secret.stringData ?? {})) {
    await Deno.writeTextFile(`${path}/${name}`, text);
  }
  for (const [name, text] of Object.entries<string>(secret.data ?? {})) {
    await Deno.writeFile(`${path}/${name}`, decodeBase64(text));
  }
  const files = [...Object.keys(secret.stringData ?? {}), ...Object.keys(secret.data ?? {})];
  await tool(
    `xorrisofs -quiet -output ${path}.iso -follow-links -volid ${label} -joliet -rock -graft-points -partition_cyl_align on ` +
      files.map((name) => `${name}=${path}/${name}`).join(" "),
  );
  return `${path}.iso`;
}

Deno.test("kubevirt: the machine boots, takes its secrets once, and is ready only then", async (t) => {
  await using guest = await GuestHome.make({ guest: "demo" });
  const { directory } = guest;
  const { items } = JSON.parse(await guest.succeed("export kubevirt", ["--json", "--secrets", "--image", IMAGE]));
  // deno-lint-ignore no-explicit-any
  const named = (kind: string, name: string): any =>
    // deno-lint-ignore no-explicit-any
    items.find((each: any) => each.kind === kind && each.metadata.name === name);
  const { domain, volumes, readinessProbe } = named("VirtualMachine", "demo").spec.template.spec;
  const { spec: { ports } } = named("Service", "demo");
  // As Kubernetes does: its documentation, "Define Environment Variables for a Container".
  const [path, ...args] = readinessProbe.exec.command.map((word: string) => word.replaceAll("$$", () => "$"));
  const keys = named("Secret", "demo-secrets").stringData;
  const image = `${guest.home}/images/demo-${ARCH}`;

  const disks: string[] = [];
  for (const { containerDisk, secret } of volumes) {
    if (containerDisk) {
      await tool(`qemu-img create -q -f qcow2 -F qcow2 -b "$(realpath ${image}.qcow2)" ${directory}/disk.qcow2`);
      disks.push(`${directory}/disk.qcow2,format=qcow2`);
    } else {
      const made = await diskOf(directory, named("Secret", secret.secretName), secret.volumeLabel);
      disks.push(`${made},format=raw,readonly=on`);
    }
  }
  const forwards = ports.map(({ port, targetPort }: { port: number; targetPort: number }) =>
    `,hostfwd=tcp:127.0.0.1:${port}-:${targetPort}`
  );
  const { kernelBoot: { kernelArgs } } = domain.firmware;
  const socket = `${directory}/agent.sock`;
  const serial = `${directory}/serial.log`;
  const child = new Deno.Command(QEMU[ARCH], {
    args: [
      ...["-machine", ARCH === "arm64" ? "virt" : "q35", "-cpu", "max", "-nodefaults", "-display", "none"],
      ...["-m", domain.memory.guest.replace("Mi", "M"), "-smp", String(domain.cpu.cores)],
      ...[
        "-kernel",
        `${image}.kernel`,
        "-initrd",
        `${image}.initrd`,
        "-append",
        kernelArgs,
        "-serial",
        `file:${serial}`,
      ],
      ...disks.flatMap((disk) => ["-drive", `if=virtio,file=${disk}`]),
      ...["-netdev", `user,id=net${forwards.join("")}`, "-device", "virtio-net-pci,netdev=net"],
      ...["-device", "virtio-serial-pci", "-chardev", `socket,id=agent,path=${socket},server=on,wait=off`],
      ...["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0", "-device", "virtio-rng-pci"],
    ],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  await using _ended = {
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.output();
    },
  };

  /** As KubeVirt does (pkg/virt-launcher/virtwrap/agent/exec.go): without any escapes. */
  const words = `{"path": "${path}", "arg": [${args.map((each: string) => `"${each}"`).join(", ")}]}`;
  const runProbe = async (agent: GuestAgent): Promise<number> => {
    const { pid } = await agent.execute<{ pid: number }>("guest-exec", JSON.parse(words));
    for (;;) {
      const status = await agent.execute<{ exited: boolean; exitcode: number }>("guest-exec-status", { pid });
      if (status.exited) return status.exitcode;
      await sleep(200);
    }
  };
  const probe = async (): Promise<string> => {
    try {
      await using agent = await GuestAgent.connect(socket, { timeoutMs: 2_000 });
      return `exit code ${await runProbe(agent)}`;
    } catch (error) {
      return String(error);
    }
  };
  const answer = async (which: Record<string, string>): Promise<number> => {
    const headers = {
      "x-stack-publishable-client-key": which.PUBLISHABLE_CLIENT_KEY,
      "x-stack-secret-server-key": which.SECRET_SERVER_KEY,
      "x-stack-super-secret-admin-key": which.SUPER_SECRET_ADMIN_KEY,
    };
    const response = await fetch(`http://127.0.0.1:${guest.ports.backend}${BACKEND}`, { headers });
    await response.body?.cancel();
    return response.status;
  };
  const placeholders = Object.fromEntries(guest.original.secrets!.map((each) => [each.name, each.placeholder]));

  await t.step("it is ready once it has its own secrets, and nobody gets in with the image's", async () => {
    let last: string | undefined;
    await until(async () => (last = await probe()) === "exit code 0", "the probe", 4).catch(async (error) => {
      throw new Error(`${error.message}; the probe: ${last}\n${(await Deno.readTextFile(serial)).slice(-2000)}`);
    });
    assertEquals([await answer(placeholders), await answer(keys)], [401, 200]);
  });

  await t.step("the probe goes on to say so, and rotates nothing again", async () => {
    await using agent = await GuestAgent.connect(socket);
    const run = async (line: string) => {
      const { stdout } = await agent.exec({ path: "/bin/sh", args: ["-c", line] });
      return new TextDecoder().decode(stdout).trim();
    };
    const when = await run("stat -c %y /run/hotboot-has-secrets; ls /run/hotboot-secrets 2>/dev/null; true");
    assertMatch(when, /^\d{4}-\S+ \S+ \S+$/);
    assertEquals(await runProbe(agent), 0);
    assertEquals(await run("stat -c %y /run/hotboot-has-secrets"), when);
    await run("supervisorctl stop backend");
    assertNotEquals(await runProbe(agent), 0);
  });
});
