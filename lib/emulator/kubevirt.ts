/**
 * The emulator as KubeVirt runs it: a VirtualMachine with the pushed image, and a Service in front of it.
 *
 * Source: KubeVirt's user guide, "Disks and Volumes", "Boot from external source", "Liveness and Readiness Probes" and
 * "Service objects"; its API reference, version 1.
 */

import { encodeBase64 } from "@std/encoding/base64";
import { HotbootError } from "../base/error.ts";
import { shellCommand } from "../base/shell.ts";
import { portLines } from "../guest/wake.ts";
import { readImage } from "../image/image.ts";
import { configFiles } from "../instance/config_disk.ts";
import type { Emulator } from "../instance/emulator.ts";
import type { ImagePaths } from "../instance/machine.ts";
import { parseReference } from "../oci/reference.ts";
import { isPublished } from "../profile/profile.ts";
import { generateSecrets } from "../profile/secrets.ts";
import { withConsole } from "../vm/machine.ts";

/** What to print. */
export interface KubeVirtOptions {
  /** The image's name with its digest; the profile's `image.oci` by default. */
  image?: string;
  /** Also a Secret with new values. */
  secrets?: boolean;
}

/** An object of Kubernetes. */
export interface KubernetesObject {
  /** Its API's group and version: `kubevirt.io/v1`. */
  apiVersion: string;
  /** Its kind: `VirtualMachine`. */
  kind: string;
  /** Its name, and its labels. */
  metadata: { name: string; labels: Record<string, string> };
  /** What it is to be, if its kind has that. */
  spec?: Record<string, unknown>;
  /** A Secret's texts by their names. */
  stringData?: Record<string, string>;
  /** A Secret's bytes by their names, as base64. */
  data?: Record<string, string>;
}

/** The label by which the guest finds its secrets. */
const SECRETS_LABEL = "HOTBOOT_SECRETS";
/** What names a Service: RFC 1035, shorter by the longest ending that is added here. */
const NAME = /^[a-z]([a-z0-9-]{0,52}[a-z0-9])?$/;
/** The key of a Secret. */
const KEY = /^[-._a-zA-Z0-9]{1,253}$/;
/** The name of a port (RFC 6335). */
const PORT_NAME = /^(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$/;

/**
 * The objects that run the emulator in a Kubernetes cluster with KubeVirt: a VirtualMachine that boots the image, with the
 * profile's machine, ports and config disk; a Service with the ports that the profile has on a host; and a Secret with the
 * config disk's files. If the profile's network is `restricted`, also a NetworkPolicy. The machine is ready when it is healthy
 * and has taken its secrets.
 *
 * Needs read permission for the home, and for the files that the profile's config disk copies.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}. Its instance's name is that of the machine.
 * @param options Which image, and whether to make secrets.
 * @returns The objects, in the order in which to apply them.
 * @throws {HotbootError} if there is no image here, which tells whether there is a kernel beside the disk; or if the image is
 * not pinned by a digest, or something in the profile is impossible in a cluster.
 *
 * @example
 * ```ts
 * import { exportKubeVirt, openEmulator } from "@hotboot/hotboot";
 *
 * const image = `oci://registry.example.com/team/demo@sha256:${"0".repeat(64)}`;
 * for (const { kind } of await exportKubeVirt(await openEmulator({ profile: "demo" }), { image })) console.log(kind);
 * ```
 */
export async function exportKubeVirt(emulator: Emulator, options: KubeVirtOptions = {}): Promise<KubernetesObject[]> {
  const { instance: name, profile, report } = emulator;
  if (!NAME.test(name)) {
    throw new HotbootError(
      `'${name}' cannot name a Service of Kubernetes: name another with --instance, of up to 54 letters, digits and dashes, a letter first`,
    );
  }
  const image = pinnedImage(emulator, options.image);
  const here = await readImage(emulator, { look: "only" });
  if (!here) {
    throw new HotbootError(
      `there is no image of '${profile.name}' here, which tells whether a kernel is beside the disk: 'hotboot ${
        isPublished(profile) ? "pull" : "build"
      }' gets it`,
    );
  }
  if (profile.share) {
    report.warn(
      `the share '${profile.share.tag}' stays behind, because a cluster has no files of this host: use a volume`,
    );
  }
  const metadata = (suffix = "") => ({ name: name + suffix, labels: { "app.kubernetes.io/name": name } });
  const secret = { apiVersion: "v1", kind: "Secret" };
  const objects: KubernetesObject[] = [];
  if (options.secrets) {
    if (!profile.secrets) throw new HotbootError(`profile '${profile.name}' has no secrets: leave out --secrets`);
    objects.push({ ...secret, metadata: metadata("-secrets"), stringData: generateSecrets(profile.secrets) });
  }
  if (profile.config) objects.push({ ...secret, metadata: metadata("-config"), ...await configData(emulator) });
  objects.push({
    apiVersion: "kubevirt.io/v1",
    kind: "VirtualMachine",
    metadata: metadata(),
    spec: {
      runStrategy: "Always",
      template: { metadata: { labels: metadata().labels }, spec: machineOf(emulator, image, here.paths) },
    },
  });
  objects.push({
    apiVersion: "v1",
    kind: "Service",
    metadata: metadata(),
    spec: {
      selector: metadata().labels,
      ports: Object.entries(profile.ports).map(([port, { guest, host }]) => ({
        name: portName(port, guest),
        port: host,
        targetPort: guest,
      })),
    },
  });
  if (profile.machine.network === "restricted") {
    objects.push({
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: metadata(),
      spec: { podSelector: { matchLabels: metadata().labels }, policyTypes: ["Egress"] },
    });
  }
  return objects;
}

/** The image as Kubernetes names it. */
function pinnedImage({ profile }: Emulator, given?: string): string {
  const text = given ?? profile.image.oci;
  if (text === undefined) {
    throw new HotbootError(
      `profile '${profile.name}' names no registry: name the image with --image, as 'hotboot push --container-disk' prints it`,
    );
  }
  const { host, repository, digest } = parseReference(text);
  if (digest === undefined) {
    throw new HotbootError(
      `${text} may be another image tomorrow: name it with its digest, as 'hotboot push --container-disk' prints it, with --image`,
    );
  }
  return `${host}/${repository}@${digest}`;
}

function portName(name: string, guest: number): string {
  return PORT_NAME.test(name) ? name : `port-${guest}`;
}

/** The files of the config disk, for a Secret. */
async function configData(emulator: Emulator): Promise<Pick<KubernetesObject, "data">> {
  const config = emulator.profile.config!;
  for (const [name, content] of Object.entries(config.files)) {
    const where = `the profile's config.files["${name}"]`;
    if (!KEY.test(name)) {
      throw new HotbootError(`${where}: a Secret has no such key: name it with letters, digits, '-', '_' and '.'`);
    }
    const lines = Array.isArray(content) ? content : content.lines ?? [];
    if (lines.some((line) => line.includes("${instance.directory}"))) {
      throw new HotbootError(`${where}: there is no \${instance.directory} in a cluster: leave it out`);
    }
  }
  const files = await configFiles(emulator, config);
  return { data: Object.fromEntries(files.map(({ name, data }) => [name, encodeBase64(data)])) };
}

/** The specification of a VirtualMachineInstance. */
function machineOf(emulator: Emulator, image: string, { kernel, initrd }: ImagePaths): Record<string, unknown> {
  const { arch, instance, profile: { config, machine, ports, secrets } } = emulator;
  const volumes = [
    { name: "disk", containerDisk: { image } },
    ...config ? [{ name: "config", secret: { secretName: `${instance}-config`, volumeLabel: config.label } }] : [],
    ...secrets ? [{ name: "secrets", secret: { secretName: `${instance}-secrets`, volumeLabel: SECRETS_LABEL } }] : [],
  ];
  const container = { image, kernelPath: "/boot/kernel", ...(initrd && { initrdPath: "/boot/initrd" }) };
  return {
    architecture: arch,
    domain: {
      cpu: { cores: machine.cpus },
      memory: { guest: `${machine.memory}Mi` },
      ...(kernel && { firmware: { kernelBoot: { container, kernelArgs: withConsole(arch, machine.append) } } }),
      devices: {
        disks: volumes.map(({ name }) => ({
          name,
          disk: { bus: "virtio", ...(name !== "disk" && { readonly: true }) },
        })),
        interfaces: [{
          name: "default",
          masquerade: {},
          ports: Object.entries(ports).map(([name, { guest }]) => ({ name: portName(name, guest), port: guest })),
        }],
        rng: {},
      },
    },
    networks: [{ name: "default", pod: {} }],
    volumes,
    ...readiness(emulator),
  };
}

/** The probe that says when the Service may send requests. */
function readiness({ profile: { health, ports, rotation, secrets }, ...emulator }: Emulator): object {
  if (secrets && rotation) {
    const checks = health.map(({ port, status = 200, path }) => `${ports[port].guest} ${status} ${path}`);
    const script = takeSecrets(shellCommand(checks), portLines(emulator), rotation.command);
    const command = ["/bin/sh", "-c", handedOn(script)];
    return { readinessProbe: { exec: { command }, periodSeconds: 5, timeoutSeconds: rotation.timeout ?? 60 } };
  }
  const [first] = health;
  if (!first) return {};
  const { port, path, status = 200 } = first;
  const { guest } = ports[port];
  const isUsual = status >= 200 && status < 400; // as Kubernetes counts success
  return { readinessProbe: { ...(isUsual ? { httpGet: { port: guest, path } } : { tcpSocket: { port: guest } }) } };
}

/** Perl that requests each `PORT STATUS PATH`, and fails if an answer has another status. */
const CHECK = [
  "my $end = chr(13) . chr(10)",
  "for (@ARGV) { my ($port, $status, $path) = split / /, $_, 3",
  "my $socket = IO::Socket::INET->new(PeerAddr => qq{127.0.0.1:$port}, Timeout => 5) or exit 1",
  "print $socket qq{GET $path HTTP/1.0${end}Host: 127.0.0.1$end$end}",
  "exit 1 unless (<$socket> // q{}) =~ m{^HTTP/[^ ]+ ${status}(?![0-9])} }",
].join("; ");

/**
 * What the guest agent runs as the probe, in one line. A healthy guest takes its secrets once after each boot; requests come
 * only afterwards. Two probes may overlap, so the directory is a lock, too.
 */
function takeSecrets(checks: string, ports: string[], rotation: string[]): string {
  const [taken, directory] = ["/run/hotboot-has-secrets", "/run/hotboot-secrets"];
  return [
    "set -eu",
    `healthy() { perl -MIO::Socket::INET -e ${shellCommand([CHECK])} ${checks}; }`,
    "healthy",
    `[ ! -e ${taken} ] || exit 0`,
    `mkdir ${directory}`,
    `trap 'umount ${directory}; rmdir ${directory}' EXIT`,
    `mount -r LABEL=${SECRETS_LABEL} ${directory}`,
    ...ports,
    `for file in ${directory}/*; do echo \${file##*/}=$(cat $file); done | ${shellCommand(rotation)} >&2`,
    `: >${taken}`,
    "healthy",
  ].join("; ");
}

/**
 * The script as Kubernetes and KubeVirt hand it on unchanged: Kubernetes expands `$(NAME)` and `$$`, and KubeVirt puts it
 * between quotes of JSON as it is.
 */
function handedOn(script: string): string {
  if (/["\\\p{Cc}]/u.test(script)) {
    throw new HotbootError(
      "the profile's rotation.command and the paths in health may have no quotation mark, apostrophe, backslash or line end, " +
        "with which KubeVirt gives nothing to the guest: put such a command into a program of the guest",
    );
  }
  return script.replaceAll(/\$(?=[$(])/g, "$$$$");
}
