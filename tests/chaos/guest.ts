/** Guests that misbehave: their agent answers wrongly, their service does, or they crash or freeze in the middle of a verb. */

import { assert, assertEquals } from "@std/assert";
import { toText } from "@std/streams/to-text";
import { shellWord } from "../../lib/base/shell.ts";
import { sleep } from "../../lib/base/wait.ts";
import { agentScript } from "../e2e/agent_script.ts";
import type { GuestHome } from "../e2e/guest_home.ts";
import { ROTATE, secretMicro } from "../e2e/secret_micro.ts";
import { random } from "../unit/random.ts";
import { agreedStates, assertAllKnown, assertSnapshots, startNext } from "./invariants.ts";
import { lastMessage, type Order, type Subject } from "./subject.ts";

/** A suspended instance and a checkpoint that no run may harm. */
const [KEPT, SAVED] = ["kept", "saved"];
/** No command may take longer: the guest's limits are 30 s and less. */
const MOST_MS = 180_000;
/** Nor may hotboot become larger than this, in MiB. */
const MOST_MEMORY = 900;
/** The longest part of a verb after which the guest ends by itself. */
const LATEST_MS = 2500;

/** Reads a request from port 3 into `n`: its id, if it has one. */
const NEXT = `read -r l <&3; n=$(echo "$l" | sed 's/.*"id"[^0-9]*\\([0-9]*\\).*/\\1/')`;
/** Answers to whatever is asked. */
const answering = (answer: string) => `while ${NEXT}; do ${answer}; done`;
const SYNC = `printf '\\377{"return": %s}\\n' "$n"`;

/** Shell scripts in the place of the agent; its port is file 3. */
const AGENTS: Record<string, string> = {
  "no JSON": answering("echo 'agent: command not found' >&3"),
  "no answer": "cat <&3 >/dev/null",
  "a line without end": "printf '\\377' >&3; exec cat /dev/zero >&3",
  "answers that nobody asked for": `while :; do printf '\\377{"return": 1}\\n{"return": {}}\\n'; done >&3`,
  "each answer twice": answering(`{ ${SYNC}; ${SYNC}; echo '{"return": {}}'; } >&3`),
  "another's answer": answering(`printf '\\377{"return": %s}\\n' $((n + 1)) >&3`),
  "the right answer, and then other kinds": answering(
    `case $l in *sync*) ${SYNC};; *) echo '{"return": "x", "pid": [], "exited": 7}';; esac >&3`,
  ),
  "answers byte by byte": answering(
    `printf '\\377' >&3; s="{\\"return\\": $n}"; while [ "$s" ]; do printf %.1s "$s" >&3; s=\${s#?}; sleep 0.1; done; echo >&3`,
  ),
  "late answers": answering(`sleep 4; ${SYNC} >&3`),
  "deep nesting": answering(`{ printf '\\377'; yes '[' | head -n 200000 | tr -d '\\n'; echo; } >&3`),
  "the agent restarts all the time":
    "exec 3>&-; while :; do qemu-ga -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0 -t /run & sleep 0.4; kill -9 $!; done",
};

const OK = `printf 'Content-Type: application/json\\r\\n\\r\\n'`;

/** CGI scripts in the place of the one that tells the guest's health. */
const SERVICES: Record<string, string> = {
  "hangs": "sleep 3600",
  "trickles": `${OK}; while :; do printf .; sleep 1; done`,
  "redirects to itself": "printf 'Status: 302 Found\\r\\nLocation: /cgi-bin/health\\r\\n\\r\\n'",
  "redirects to the host": "printf 'Status: 302 Found\\r\\nLocation: http://127.0.0.1:1/\\r\\n\\r\\n'",
  "sends gigabytes": `${OK}; exec cat /dev/zero`,
  "has a header without end": "exec cat /dev/zero",
  "closes at once": "exit 1",
};

/** What root in the guest does to the guest, in the middle of a verb. */
const ENDS: Record<string, string> = {
  "panics": "echo c >/proc/sysrq-trigger",
  "powers off": "poweroff -f",
  "reboots": "reboot -f",
  "freezes": "kill -STOP -1",
  "fills its memory": "tail /dev/zero",
  "prints without end": "while :; do dmesg; done >/dev/console 2>&1",
};

/** Verbs on the misbehaving instance, as command lines. */
const VERBS: Record<string, [verb: string, ...args: string[]][]> = {
  "exec": [["exec", "-n", "--", "true"]],
  "status": [["status"]],
  "wait": [["wait", "--timeout", "10"]],
  "stop and start": [["stop"], ["start"]],
  "stop --shutdown": [["stop", "--shutdown"]],
  "save": [["snapshot save", "new"]],
  "fork": [["fork", "new"]],
  "restart": [["restart"]],
  "doctor": [["doctor"]],
};

/** A fault, and how to cause it. */
interface Fault {
  title: string;
  /** Runs in the guest before the verb; it must not wait. */
  script: string;
  /** How long until it has its effect, in ms. */
  effectMs: number;
}

/** What a seed means. */
function choose(seed: number): { verb: string; fault: Fault } {
  const next = random(seed);
  const pick = <T>(list: T[]) => list[Math.floor(next() * list.length)];
  const kinds: (() => Fault)[] = [
    () => {
      const [title, script] = pick(Object.entries(AGENTS));
      return { title: `the agent: ${title}`, script: agentScript(script), effectMs: 2500 };
    },
    () => {
      const [title, script] = pick(Object.entries(SERVICES));
      return {
        title: `the service ${title}`,
        script: `printf '%s\\n' ${shellWord(`#!/bin/sh\n${script}`)} >/www/cgi-bin/health`,
        effectMs: 0,
      };
    },
    () => {
      const [title, script] = pick(Object.entries(ENDS));
      return {
        title: `the guest ${title}`,
        script: `(sleep ${(next() * LATEST_MS / 1000).toFixed(2)}; ${script}) </dev/null >/dev/null 2>&1 &`,
        effectMs: 0,
      };
    },
  ];
  return { fault: kinds[seed % kinds.length](), verb: pick(Object.keys(VERBS)) };
}

/** Runs a verb; it must end in time, with success or one clear line, and bounded memory. Returns what a user sees. */
async function requireClear(guest: GuestHome, [verb, ...args]: [string, ...string[]]): Promise<string> {
  const child = guest.spawn(verb, ...args);
  const outputs = [toText(child.stdout), toText(child.stderr)];
  let [hasEnded, isLate, most] = [false, false, 0];
  const ended = child.status.finally(() => hasEnded = true);
  for (const begin = performance.now(); !hasEnded; await sleep(50)) {
    const status = await Deno.readTextFile(`/proc/${child.pid}/status`).catch(() => "");
    most = Math.max(most, Number(status.match(/VmHWM:\s*(\d+)/)?.[1] ?? 0) / 1024);
    if (isLate || performance.now() - begin < MOST_MS) continue;
    isLate = true;
    child.kill("SIGKILL");
  }
  const { code } = await ended;
  const [stdout, stderr] = await Promise.all(outputs);
  assert(!isLate, `'${verb}' did not end within ${MOST_MS / 1000} s: ${stderr}`);
  assert(most < MOST_MEMORY, `'${verb}' took ${most.toFixed()} MiB`);
  if (code === 0) return "it works";
  const saysSo = ["status", "doctor"].includes(verb) && code === 1 && stdout !== "";
  const isClear = code === 1 && /^hotboot: \S[^\n]*$/.test(stderr.trimEnd().split("\n").at(-1)!);
  assert(saysSo || isClear, `'${verb}': exit code ${code}: ${stderr}`);
  return saysSo ? "the exit code says that it is not well" : lastMessage(stderr);
}

/** One run: the guest begins to misbehave, the verb is tried, and then all is as it should be. */
async function runOne(guest: GuestHome, seed: number): Promise<string> {
  const { verb, fault: { script, effectMs } } = choose(seed);
  await guest.start();
  await guest.exec("sh", "-c", script);
  await sleep(effectMs);
  let seen = "";
  for (const line of VERBS[verb]) {
    seen = await requireClear(guest, line);
    if (seen !== "it works") break;
  }
  await assertAllKnown(guest);
  const states = await agreedStates(guest);
  assertEquals(states.get(KEPT)?.state, "suspended");
  await assertSnapshots(guest, SAVED);
  // Nothing that a guest does keeps its user from dropping it.
  for (const instance of states.keys()) if (instance !== KEPT) await guest.succeed("reset", ["--instance", instance]);
  await guest.run("snapshot rm", ["new"]);
  assertEquals(await guest.qemusLeft(), []);
  const { result } = await startNext(guest);
  assertEquals(result.origin, "resume", "the next start");
  assertEquals(await guest.exec("echo", "well"), "well\n");
  return seen;
}

export const subject: Subject = {
  about: "the guest's agent, its service or the guest itself misbehaves while a verb is at work",
  survived:
    "The command works, or ends with one clear line: within three minutes, and with less than 900 MiB. `status` and `list` agree, " +
    "a suspended instance and a checkpoint are there, `reset` drops the guest, and the next `start` resumes a healthy one.",
  full: { runs: 90, seconds: 2000 },
  ci: { runs: 2, seconds: 45 },
  async run({ seed: first, runs, tally }: Order) {
    await using guest = await secretMicro(ROTATE, (profile) => profile.timeouts = { boot: 120, resume: 30 }, {
      captured: true,
    });
    await guest.start("--instance", KEPT);
    await guest.succeed("stop", ["--instance", KEPT]);
    await guest.start();
    await guest.succeed("snapshot save", [SAVED]);
    for (let seed = first; seed < first + runs; seed++) {
      const { verb, fault: { title } } = choose(seed);
      if (!await tally.run(`${title}: ${verb}`, seed, () => runOne(guest, seed))) await guest.run("reset");
    }
  },
};
