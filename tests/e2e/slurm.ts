/** A Slurm cluster whose nodes are all on this machine: Debian's daemons, with a directory and a key of their own. */

import { assertEquals } from "@std/assert";
import { sleep } from "../../lib/base/wait.ts";
import { until } from "./pace.ts";
import { freePort } from "./shared.ts";

/** Debian has the daemons where users do not look. */
const SBIN = "/usr/sbin";

/** What `scontrol` says about a job. */
export interface Job {
  state: string;
  /** The batch script's exit code, and the signal that ended it. */
  exit: string;
}

/** The cluster. Disposing of it ends all jobs and daemons. */
export class Slurm implements AsyncDisposable {
  readonly env: Record<string, string>;
  #daemons: Deno.ChildProcess[] = [];

  private constructor(readonly directory: string, readonly nodes: string[]) {
    this.env = { SLURM_CONF: `${directory}/slurm.conf` };
  }

  /**
   * Starts it with so many nodes, each with two CPUs as far as Slurm knows, whatever this machine has.
   *
   * @param epilog What Bash runs on a node after each job.
   */
  static async start(count: number, epilog: (directory: string) => string): Promise<Slurm> {
    const directory = await Deno.makeTempDir({ prefix: "hotboot-slurm-" });
    const nodes = Array.from({ length: count }, (_, index) => `n${index + 1}`);
    const slurm = new Slurm(directory, nodes);
    for (const name of ["state", "spool", "log", "run"]) await Deno.mkdir(`${directory}/${name}`);
    await Deno.writeTextFile(`${directory}/epilog`, `#!/bin/bash\n${epilog(directory)}\n`, { mode: 0o755 });
    await Deno.writeFile(`${directory}/munge.key`, crypto.getRandomValues(new Uint8Array(64)), { mode: 0o600 });
    const host = Deno.hostname().split(".")[0];
    const { stdout } = await new Deno.Command("id", { args: ["-un"] }).output();
    const user = new TextDecoder().decode(stdout).trim();
    const machines = nodes.map((name) =>
      `NodeName=${name} NodeHostname=${host} NodeAddr=127.0.0.1 Port=${freePort()} CPUs=2 State=UNKNOWN`
    );
    await Deno.writeTextFile(
      slurm.env.SLURM_CONF,
      `ClusterName=hotboot
SlurmctldHost=${host}(127.0.0.1)
SlurmctldPort=${freePort()}
SlurmUser=${user}
SlurmdUser=${user}
AuthInfo=socket=${directory}/run/munge.socket
StateSaveLocation=${directory}/state
SlurmdSpoolDir=${directory}/spool/%n
SlurmctldPidFile=${directory}/run/slurmctld.pid
SlurmdPidFile=${directory}/run/%n.pid
SlurmctldLogFile=${directory}/log/slurmctld
SlurmdLogFile=${directory}/log/%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
KillWait=5
Epilog=${directory}/epilog
${machines.join("\n")}
PartitionName=all Nodes=ALL Default=YES
`,
    );
    slurm.#run(
      "munged",
      "--foreground",
      "--force",
      "--num-threads=1",
      ...[
        ["key-file", "munge.key"],
        ["socket", "run/munge.socket"],
        ["pid-file", "run/munged.pid"],
        ["log-file", "log/munged"],
        ["seed-file", "run/munged.seed"],
      ].map(([name, path]) => `--${name}=${directory}/${path}`),
    );
    await until(() => Deno.stat(`${directory}/run/munge.socket`).then(() => true, () => false), "munged");
    slurm.#run("slurmctld", "-D", "-f", slurm.env.SLURM_CONF);
    for (const name of nodes) slurm.#run("slurmd", "-D", "-N", name, "-f", slurm.env.SLURM_CONF);
    const idle = async () => (await slurm.output("sinfo", "-h", "-o", "%D %t").catch(() => "")).trim();
    await until(async () => await idle() === `${count} idle`, "the nodes");
    return slurm;
  }

  #run(program: string, ...args: string[]): void {
    this.#daemons.push(
      new Deno.Command(`${SBIN}/${program}`, { args, env: this.env, stdin: "null", stdout: "null", stderr: "null" })
        .spawn(),
    );
  }

  /** The output of one of Slurm's programs. */
  async output(program: string, ...args: string[]): Promise<string> {
    const { success, stdout, stderr } = await new Deno.Command(program, { args, env: this.env }).output();
    assertEquals(success, true, `${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
    return new TextDecoder().decode(stdout);
  }

  /** Submits a script, and gives the job's number. Its output goes to `output(NUMBER)` or, of a job array, to one for each task. */
  async submit(script: string, ...options: string[]): Promise<string> {
    const path = `${this.directory}/script`;
    await Deno.writeTextFile(path, script);
    const output = `--output=${this.directory}/%A${options.some((each) => each.startsWith("--array")) ? "_%a" : ""}`;
    return (await this.output("sbatch", "--parsable", "--chdir=/tmp", output, ...options, path)).trim();
  }

  /** What a job has printed so far. */
  async printed(job: string): Promise<string> {
    return await Deno.readTextFile(`${this.directory}/${job}`).catch(() => "");
  }

  /** Waits until the job, its epilog included, is over. `sbatch --wait` looks only every few seconds. */
  async ended(job: string): Promise<Job> {
    await until(async () => {
      await sleep(100);
      return (await this.output("squeue", "-h", "-j", job)).trim() === "";
    }, `the end of job ${job}`);
    const text = await this.output("scontrol", "show", "job", "-o", job);
    const [, state] = text.match(/ JobState=(\w+)/)!;
    const [, exit] = text.match(/ ExitCode=(\S+)/)!;
    return { state, exit };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.output("scancel", "--state=RUNNING", "--state=PENDING").catch(() => {});
    await until(async () => (await this.output("squeue", "-h").catch(() => "")).trim() === "", "the end of all jobs");
    for (const daemon of this.#daemons.toReversed()) {
      daemon.kill("SIGTERM");
      await daemon.status;
    }
    await Deno.remove(this.directory, { recursive: true });
  }
}
