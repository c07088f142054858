/**
 * A runner of GitHub's, as far as a composite action needs it: its steps run for real, by Bash, and get what they say of each
 * other. The cache is a directory. What the actions of others do, and `sudo` and udev, only GitHub shows.
 */

import { copy } from "@std/fs/copy";
import { ensureDir } from "@std/fs/ensure-dir";
import { dirname } from "@std/path/dirname";
import { assert, assertEquals } from "@std/assert";
import { parse } from "@std/yaml/parse";

/** An action's file. */
export interface Action {
  inputs: Record<string, { description: string; default: string }>;
  outputs: Record<string, { description: string; value: string }>;
  runs: { using: string; steps: Step[] };
}

/** One of its steps. */
export interface Step {
  name: string;
  id?: string;
  if?: string;
  uses?: string;
  with?: Record<string, string>;
  run?: string;
  shell?: string;
  env?: Record<string, string>;
  "working-directory"?: string;
}

/** What a job has. */
export interface Job {
  /** The action's directory. */
  action: string;
  /** The workspace. */
  workspace: string;
  /** The cache, which outlives jobs. */
  cache: string;
  /** The job's directory for temporary files. */
  temporary: string;
  inputs: Record<string, string>;
  env: Record<string, string>;
}

/** What a job has done. */
export interface JobResult {
  outputs: Record<string, string>;
  /** The variables that later steps of the job get. */
  env: Record<string, string>;
  /** The steps that have run, by their names. */
  ran: string[];
  /** What they have printed. */
  log: string;
  /** The step that failed. */
  failed?: string;
}

export async function readAction(path: string): Promise<Action> {
  return parse(await Deno.readTextFile(path)) as Action;
}

/** Runs the action in a job. */
export async function runAction({ action, workspace, cache, temporary, env, ...job }: Job): Promise<JobResult> {
  const { inputs, outputs, runs } = await readAction(`${action}/action.yml`);
  const context: Record<string, string> = { "github.token": "", "runner.temp": temporary };
  for (const [name, { default: usual }] of Object.entries(inputs)) {
    context[`inputs.${name}`] = fill(job.inputs[name] ?? usual, context);
  }
  await ensureDir(temporary);
  const files = ["GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_ENV"].map((name) => [name, `${temporary}/${name}`]);
  const variables: Record<string, string> = {
    ...env,
    ...Object.fromEntries(files),
    GITHUB_ACTION_PATH: action,
    GITHUB_WORKSPACE: workspace,
    RUNNER_TEMP: temporary,
  };
  const result: JobResult = { outputs: {}, env: variables, ran: [], log: "" };
  for (const step of runs.steps) {
    if (step.if !== undefined && !holds(step.if, context)) continue;
    for (const [, path] of files) await Deno.writeTextFile(path, "");
    result.ran.push(step.name);
    if (step.uses !== undefined) {
      const wanted = Object.fromEntries(
        Object.entries(step.with!).map(([name, value]) => [name, fill(value, context)]),
      );
      const matched = await useCache(step.uses, cache, wanted);
      if (step.id) context[`steps.${step.id}.outputs.cache-matched-key`] = matched;
      continue;
    }
    const { success, stdout, stderr } = await new Deno.Command("bash", {
      args: ["--noprofile", "--norc", "-eo", "pipefail", "-c", step.run!], // as `shell: bash` does
      cwd: `${workspace}/${fill(step["working-directory"] ?? ".", context)}`,
      env: {
        ...variables,
        ...Object.fromEntries(Object.entries(step.env ?? {}).map(([name, value]) => [name, fill(value, context)])),
      },
      stdin: "null",
    }).output();
    result.log += new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    const [output, path] = await Promise.all(files.map(([, file]) => Deno.readTextFile(file)));
    for (const [, name, value] of output.matchAll(/^([\w-]+)=(.*)$/gm)) {
      context[`steps.${step.id}.outputs.${name}`] = value;
    }
    variables.PATH = [...path.split("\n").filter(Boolean).toReversed(), variables.PATH].join(":");
    if (!success) return { ...result, failed: step.name };
  }
  for (const [name, { value }] of Object.entries(outputs)) result.outputs[name] = fill(value, context);
  return result;
}

/** A text without its expressions, which are names: what is not known is empty. */
function fill(text: string, context: Record<string, string>): string {
  return text.replaceAll(/\$\{\{ ([\w.-]+) \}\}/g, (_, name) => context[name] ?? "");
}

/** Whether a condition of comparisons holds. */
function holds(condition: string, context: Record<string, string>): boolean {
  return condition.split(" && ").every((comparison) => {
    const [, name, sign, text, other] = comparison.match(/^([\w.-]+) (==|!=) (?:'([^']*)'|([\w.-]+))$/) ??
      assert(false, comparison);
    return ((context[name] ?? "") === (text ?? context[other] ?? "")) === (sign === "==");
  });
}

/** Restores or saves files, and gives the key that was found. */
async function useCache(uses: string, cache: string, wanted: Record<string, string>): Promise<string> {
  const { path, key, "restore-keys": beginning } = wanted;
  const [directory, pattern] = [dirname(path), path.slice(dirname(path).length + 1)];
  const isMeant = (name: string) => pattern.endsWith(".*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
  if (uses.startsWith("actions/cache/save@")) {
    for (const { name } of Deno.readDirSync(directory)) {
      if (!isMeant(name)) continue;
      await ensureDir(`${cache}/${key}`);
      await Deno.copyFile(`${directory}/${name}`, `${cache}/${key}/${name}`);
    }
    return key;
  }
  assertEquals(uses.split("@")[0], "actions/cache/restore");
  await ensureDir(cache);
  const keys = Array.from(Deno.readDirSync(cache), ({ name }) => name);
  const found = keys.find((each) => each === key) ??
    keys.find((each) => beginning !== undefined && each.startsWith(beginning));
  if (found === undefined) return "";
  await ensureDir(directory);
  for (const { name } of Deno.readDirSync(`${cache}/${found}`)) {
    await copy(`${cache}/${found}/${name}`, `${directory}/${name}`, { overwrite: true });
  }
  return found;
}
