/** Rules for the workflows, so that no one else's code or text can decide what is published. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { parse } from "@std/yaml/parse";
import { ROOT } from "../../dev/deno.ts";

interface Workflow {
  on: Record<string, unknown>;
  env?: Record<string, unknown>;
  permissions: Record<string, string>;
  jobs: Record<string, Job>;
}

interface Job {
  uses?: string;
  needs?: string | string[];
  strategy?: { matrix: { include?: Record<string, string>[] } };
  permissions?: Record<string, string>;
  "timeout-minutes"?: number;
  steps?: { uses?: string; run?: string; with?: Record<string, unknown> }[];
}

const DIRECTORY = `${ROOT}.github/workflows`;

/** The jobs with write permissions, and why. */
const WRITERS: Record<string, string[]> = {
  "image.yml publish": ["contents", "id-token", "attestations"],
  "release.yml release": ["contents", "id-token", "attestations"],
  "release.yml jsr": ["id-token"],
  "release.yml npm": ["id-token"],
};

Deno.test("workflows: actions are pinned, permissions are minimal, and scripts contain no expressions", async () => {
  const files = Array.from(Deno.readDirSync(DIRECTORY), ({ name }) => name).sort();
  assert(files.includes("release.yml") && files.includes("test.yml"));
  for (const file of files) {
    const text = await Deno.readTextFile(`${DIRECTORY}/${file}`);
    const { on, permissions, jobs } = parse(text) as Workflow;
    assert(!("pull_request_target" in on), `${file}: strangers' code would run with this repository's permissions`);
    assertEquals(writable(permissions), [], `${file}: for all jobs`);
    for (const [name, job] of Object.entries(jobs)) {
      const where = `${file} ${name}`;
      assertEquals(writable(job.permissions), WRITERS[where] ?? [], where);
      if (job.uses) assertMatch(job.uses, /^\.\//, where);
      else assert(job["timeout-minutes"]! <= 120, where);
      for (const { uses, run, with: inputs } of job.steps ?? []) {
        // A script gets its inputs as variables: in its text, a branch's name could become a command.
        if (run) assert(!run.includes("${{"), `${where}: ${run}`);
        if (!uses) continue;
        assertMatch(uses, /^[\w-]+\/[\w-]+@[0-9a-f]{40}$/, where);
        assertMatch(text, new RegExp(`${uses} # v\\d+\\.\\d+\\.\\d+\n`), where);
        if (uses.startsWith("actions/checkout@")) assertEquals(inputs?.["persist-credentials"], false, where);
      }
    }
  }
});

Deno.test("workflows: the action for others keeps the same rules, and runs only its own scripts", async () => {
  const text = await Deno.readTextFile(`${ROOT}action.yml`);
  const { runs } = parse(text) as { runs: { using: string; steps: { uses?: string; run?: string; shell?: string }[] } };
  assertEquals(runs.using, "composite");
  const scripts: string[] = [];
  for (const { uses, run, shell } of runs.steps) {
    if (uses) {
      assertMatch(uses, /^actions\/[\w/-]+@[0-9a-f]{40}$/);
      assertMatch(text, new RegExp(`${uses} # v\\d+\\.\\d+\\.\\d+\n`));
    } else {
      assertEquals(shell, "bash");
      scripts.push(run!.match(/^"\$GITHUB_ACTION_PATH\/(ci\/\w+\.sh)"$/)![1]);
    }
  }
  for (const path of scripts) {
    assert((await Deno.stat(ROOT + path)).mode! & 0o111, `${path} cannot be executed`);
  }
  const all = Array.from(Deno.readDirSync(`${ROOT}ci`), ({ name }) => `ci/${name}`).filter((path) =>
    path.endsWith(".sh")
  );
  assertEquals(scripts.toSorted(), all.sort());
});

Deno.test("workflows: a release contains only what the lock lists", async () => {
  const { env, jobs } = parse(await Deno.readTextFile(`${DIRECTORY}/release.yml`)) as Workflow;
  assertEquals(env?.HOTBOOT_IMPORTS, "jsr"); // the other import map has stand-ins for it
  const made: string[] = [];
  for (const [name, { steps = [] }] of Object.entries(jobs)) {
    if (!steps.some(({ uses }) => uses?.startsWith("denoland/setup-deno@"))) continue;
    const [first, ...later] = steps.flatMap(({ run }) => run?.startsWith("deno ") ? [run] : []);
    assertEquals(first, "deno install --frozen", name); // then the tasks find all that they need
    for (const run of later) assertMatch(run, /^deno (task |.* --frozen$)/, name);
    made.push(name);
  }
  assertEquals(made, ["binary", "bundle", "packages", "jsr"]);
});

Deno.test("workflows: a release publishes nothing before all of it is built and tested", async () => {
  const { jobs } = parse(await Deno.readTextFile(`${DIRECTORY}/release.yml`)) as Workflow;
  const publishing = Object.keys(jobs).filter((name) => writable(jobs[name].permissions).length > 0);
  const before = Object.keys(jobs).filter((name) => !publishing.includes(name) && name !== "version");
  for (const name of publishing) assertEquals([jobs[name].needs].flat().toSorted(), before.toSorted(), name);
});

Deno.test("workflows: Macs of both architectures boot the guest from the same run, and each benchmark runs once", async () => {
  const { jobs: { guest, macos, bench } } = parse(await Deno.readTextFile(`${DIRECTORY}/test.yml`)) as Workflow;
  const artifact = ({ steps = [] }: Job, action: string) =>
    steps.find(({ uses }) => uses?.startsWith(`actions/${action}-artifact@`))?.with;
  const { name, path } = artifact(guest, "upload")!;
  assertEquals(artifact(macos, "download"), { name, path });
  assertEquals(macos.needs, "guest");
  const kinds = macos.strategy!.matrix.include!.map(({ runner, arch }) => [runner.startsWith("macos-"), arch]);
  assertEquals(kinds, [[true, "arm64"], [true, "amd64"]]);
  assert(bench.steps!.some(({ run }) => run?.endsWith(" task bench --smoke")));
});

function writable(permissions: Record<string, string> = {}): string[] {
  return Object.keys(permissions).filter((scope) => !["read", "none"].includes(permissions[scope]));
}
