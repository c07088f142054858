/** The schemas in docs/json take the results' types with all of their fields, and nothing that is not in them. */

import { assertEquals } from "@std/assert";
import { type Schema, Validator } from "@cfworker/json-schema";
import type { Diagnosis } from "../../lib/doctor/doctor.ts";
import type { ComparedStep } from "../../lib/cli/ui/comparison.ts";
import type { AssetsResult } from "../../lib/image/assets.ts";
import type { PushResult } from "../../lib/image/push.ts";
import type { RecordedRun } from "../../lib/instance/history.ts";
import type { Finding } from "../../lib/doctor/finding.ts";
import { ROOT } from "../../dev/deno.ts";
import type { CaptureResult } from "../../lib/emulator/capture.ts";
import type { CheckpointResult } from "../../lib/emulator/checkpoint.ts";
import type { ExportResult } from "../../lib/emulator/export.ts";
import type { ForkResult } from "../../lib/emulator/fork.ts";
import type { ImportResult } from "../../lib/emulator/import.ts";
import type { InstanceInfo } from "../../lib/emulator/list.ts";
import type { KubernetesObject } from "../../lib/emulator/kubevirt.ts";
import type { PruneResult } from "../../lib/emulator/prune.ts";
import type { RenameResult } from "../../lib/emulator/rename.ts";
import type { SnapshotInfo, VerifyResult } from "../../lib/emulator/snapshots.ts";
import type { Spares } from "../../lib/emulator/spares.ts";
import type { StartResult } from "../../lib/emulator/start_result.ts";
import type { Provenance } from "../../lib/sigstore/provenance.ts";
import type { Status } from "../../lib/emulator/status.ts";
import type { StopAllResult } from "../../lib/emulator/stop_all.ts";
import type { StopResult } from "../../lib/emulator/stop.ts";
import type { ImageOrigin, ImageRecord } from "../../lib/image/image.ts";

const read = async (name: string): Promise<Schema> =>
  JSON.parse(await Deno.readTextFile(`${ROOT}docs/json/${name}.schema.json`));

/** All fields, at every depth: the type check fails here when a result gets one. */
type Whole<T> = T extends (infer Item)[] ? Whole<Item>[] : T extends object ? { [Key in keyof T]-?: Whole<T[Key]> } : T;

const AT = "2026-11-24T12:43:02.000Z";
const ID = "20261124T124302Z-7b37";
const SHA256 = "0".repeat(64);
const URLS = { web: "http://127.0.0.1:26880" };
const PORTS = { web: 26880 };
const START: Whole<StartResult> = {
  instance: "micro",
  origin: "resume",
  snapshot: ID,
  credentials: "/home/credentials.json",
  urls: URLS,
  ports: PORTS,
  timeline: [{ name: "healthy", startMs: 0.1, endMs: 12.5, failed: true }],
};
const FORK: Whole<ForkResult> = { ...START, origin: "continue", stoodStillMs: 1.5 };
const RUNNING: Whole<NonNullable<Status["running"]>> = {
  origin: "spare",
  started: AT,
  pid: 4711,
  snapshot: ID,
  secrets: "rotated",
  urls: URLS,
  ports: PORTS,
  health: { web: true },
  lostSecrets: "web has the placeholders",
};
const ORIGINS: Whole<ImageOrigin>[] = [
  { kind: "build", recipe: "abc" },
  { kind: "release", repository: "acme/shop", tag: "v1", published: AT, version: "1", index: "0".repeat(64) },
  { kind: "oci", reference: "oci://example.com/shop:main", digest: "sha256:1", version: "sha256:2", published: AT },
  { kind: "run", repository: "acme/shop", run: 7, branch: "main", published: AT, version: "1" },
  { kind: "adopted" },
];
const STATUS: Whole<Status> = {
  profile: "micro",
  instance: "micro",
  of: "other",
  state: "shut down",
  why: "what to know",
  running: RUNNING,
  acceleration: {
    accelerator: "tcg",
    passedOver: { accelerator: "kvm", reason: "slow", why: "slow", remedy: "another host" },
  },
  image: { path: "/images/micro.qcow2", created: AT, bytes: 1, origin: ORIGINS[0], provenance: null },
  snapshot: { id: ID, created: AT, engine: "instant" },
  spares: { wanted: 1, spares: 0 },
};
const { origin, started, pid, urls, ports } = RUNNING;
const INSTANCE: Whole<InstanceInfo> = {
  instance: "micro",
  profile: "micro",
  arch: "amd64",
  state: "running",
  why: "what to know",
  running: { origin, started, pid, urls, ports, health: { web: true }, memory: { own: 1, shared: 2 } },
  snapshot: ID,
  ended: AT,
  bytes: 1,
};
const SNAPSHOT: Whole<SnapshotInfo> = {
  id: ID,
  kind: "checkpoint",
  name: "later",
  profile: "micro",
  arch: "arm64",
  engine: "flat",
  created: AT,
  bytes: 1,
  apparentBytes: 2,
  base: ID,
  usedBy: [{ instance: "micro", state: "suspended" }, { checkpoint: "later", state: "saved" }],
  spares: 1,
  state: "unusable",
  why: "QEMU differs",
};
const FILE = { size: 1, mtime: 1.5, ctime: 1.5, sha256: SHA256 };
const PROVENANCE: Whole<Provenance> = {
  repository: "acme/shop",
  ref: "refs/heads/main",
  commit: "0123",
  workflow: "acme/shop/.github/workflows/image.yml@refs/heads/main",
  run: "https://github.com/acme/shop/actions/runs/1/attempts/1",
  issuer: "https://token.actions.githubusercontent.com",
};
const IMAGE: Omit<Whole<ImageRecord>, "provenance"> = {
  origin: ORIGINS[0],
  created: AT,
  files: { disk: FILE, kernel: FILE, initrd: FILE },
};
const PATHS = { disk: "/d", kernel: "/k", initrd: "/i" };
const CAPTURE: Whole<CaptureResult> = { snapshot: ID, captured: true, timeline: START.timeline };
const STOP: Whole<StopResult> = { stopped: true, kept: "suspended" };
const STOP_ALL: Whole<StopAllResult> = {
  stopped: [{ instance: "micro", kept: "crashed" }],
  failed: [{ instance: "other", why: "it does not answer" }],
  others: 0,
};
const CHECKPOINT: Whole<CheckpointResult> = { id: ID, name: "later", stoodStillMs: 0 };
const EXPORT: Whole<ExportResult> = { snapshot: ID, bytes: 1 };
const IMPORT: Whole<ImportResult> = { snapshot: ID, exported: ID, name: "later", wasThere: true, why: "QEMU differs" };
const PRUNE: Whole<PruneResult> = { removed: [{ path: "/p", why: "stale", bytes: 1 }], bytes: 1 };
const RENAME: Whole<RenameResult> = { id: ID, name: "later", was: "before" };
const VERIFY: Whole<VerifyResult> = { snapshot: ID, files: { ram: { size: 1, sha256: SHA256 } }, recorded: false };
const FINDING: Whole<Finding> = { id: "qemu", mark: "ok", title: "QEMU", reason: "r", fix: "f", fixed: true };
const { fix: _fix, fixed: _fixed, ...OK } = FINDING;
const DIAGNOSIS: Diagnosis = { starts: true, findings: [FINDING, OK] };
const RUN: Whole<RecordedRun> = {
  command: "start",
  how: "resume",
  began: AT,
  ms: 12.5,
  outcome: "failed",
  why: "it failed",
  timeline: START.timeline,
};
const STEP: Whole<ComparedStep> = { name: "healthy", olderMs: 1.5, newerMs: 3, ratio: 2 };
const DIGEST = `sha256:${SHA256}`;
const PUSH: Whole<PushResult> = { reference: "oci://h/r:t", digest: DIGEST, version: DIGEST, size: 2, moved: 1 };
const ASSETS: Whole<AssetsResult> = { directory: "d", files: ["shop.qcow2"], size: 2 };
const KUBERNETES: Whole<KubernetesObject> = {
  apiVersion: "v1",
  kind: "Secret",
  metadata: { name: "a", labels: { b: "c" } },
  spec: {},
  stringData: { KEY: "x" },
  data: { file: "eA==" },
};
const SPARES: Whole<Spares> = { wanted: 1, spares: 1, bytes: 1 };

/** By the schema's name: what is valid. */
const VALID: Record<string, unknown[]> = {
  "start": [START, { instance: "micro", urls: {}, ports: {}, timeline: [] }],
  "restart": [{ ...START, env: {} }],
  "run": [{ ...START, env: { WEB_URL: "x" } }],
  "fork": [{ ...FORK, env: {} }],
  "capture": [CAPTURE],
  "status": [
    STATUS,
    { profile: "micro", instance: "micro", state: "stopped" },
    { ...STATUS, image: { error: "damaged" }, snapshot: { error: "damaged" } },
    ...ORIGINS.map((origin) => ({ ...STATUS, image: { ...STATUS.image, origin } })),
  ],
  "wait": [{ state: "running", running: RUNNING }, { state: "stopped" }],
  "list": [[], [INSTANCE, { instance: "x", state: "damaged", bytes: 0 }]],
  "stop": [STOP, { stopped: false }, STOP_ALL],
  "build": [{ built: true, paths: PATHS, ...IMAGE }],
  "pull": [PROVENANCE, null].map((provenance) => (
    { pulled: true, paths: { disk: "/d" }, ...IMAGE, provenance, snapshot: ID, size: 2, moved: 1 }
  )),
  "spare": [SPARES],
  "snapshot-ls": [[], [SNAPSHOT]],
  "snapshot-save": [CHECKPOINT],
  "snapshot-export": [{ ...EXPORT, file: "x" }],
  "snapshot-import": [IMPORT, { snapshot: ID, exported: ID }],
  "snapshot-prune": [PRUNE],
  "snapshot-rename": [RENAME, { id: ID, name: "later" }],
  "snapshot-verify": [VERIFY],
  "doctor": [DIAGNOSIS],
  "timeline": [
    [{ number: 1, ...RUN }],
    { older: { number: 2, ...RUN }, newer: { number: 1, ...RUN }, steps: [STEP], total: { name: "total" } },
  ],
  "push": [PUSH, ASSETS],
  "export-kubevirt": [{ apiVersion: "v1", kind: "List", items: [KUBERNETES] }],
  "error": [{ error: "it failed: try again", exitCode: 1 }],
};

Deno.test("json: the schemas take all that the types say, and nothing else", async () => {
  const common = await read("common");
  for (const [name, values] of Object.entries(VALID)) {
    const validator = new Validator(await read(name), "2020-12", false);
    validator.addSchema(common);
    for (const value of values.map((value) => JSON.parse(JSON.stringify(value)))) {
      assertEquals(validator.validate(value).errors, [], `${name}: ${JSON.stringify(value)}`);
      for (const wrong of [{ ...value, surplus: 1 }, null, [{ surplus: 1 }]]) {
        assertEquals(validator.validate(wrong).valid, false, `${name}: ${JSON.stringify(wrong)}`);
      }
    }
  }
});
