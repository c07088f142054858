import type { ImageOrigin } from "../../image/image.ts";
import type { Status } from "../../emulator/status.ts";
import { describePassedOver } from "../../vm/accelerator.ts";
import { print, printJson } from "../ui/console.ts";
import { type Cell, printPairs } from "../ui/table.ts";
import { type Command, oneOf } from "./command.ts";
import { emulatorOf } from "./context.ts";
import { assignments } from "../../base/shell.ts";
import type { StateName } from "../../instance/state.ts";
import type { Origin } from "../../instance/record.ts";
import { FAILURE, OK } from "./outcome.ts";

const FORMATS = ["text", "json", "env"] as const;

export const command: Command = {
  trust: "looks",
  about:
    "Show the instance, the health of its services, the image and the snapshot. The exit code is 0 only if the instance\n" +
    "runs and all of it is healthy, otherwise 1.\n\n" +
    "With -o env the addresses and ports of the services are variables, such as HOTBOOT_URL_BACKEND and\n" +
    "HOTBOOT_PORT_BACKEND. Secrets are not among them: 'hotboot credentials --env' prints those.",
  activity: "asking the services",
  examples: [
    "hotboot status",
    "hotboot status --json",
    'eval "$(hotboot status -o env)"; curl "$HOTBOOT_URL_BACKEND"',
  ],
  flags: [{
    name: "output",
    short: "o",
    value: "FORMAT",
    completes: FORMATS,
    summary: "text, json (the same as --json), or env: lines NAME=value for a shell, without secrets",
  }],
  implied(args) {
    const isJson = oneOf("output", args.values.output, FORMATS) === "json";
    return isJson ? { ...args, switches: new Set([...args.switches, "json"]) } : args;
  },
  async run(context) {
    const { switches, values } = context.args;
    const { isUp, status } = await import("../../emulator/status.ts");
    const result = await status(await emulatorOf(context));
    if (switches.has("json")) await printJson(result);
    else if (values.output === "env") await print(assignments(variablesOf(result)));
    else await printPairs(describe(result));
    return isUp(result) ? OK : FAILURE;
  },
};

/** How an instance was started, in a word or several. */
export const HOW: Record<Origin, string> = {
  "cold boot": "booted",
  "resume": "resumed",
  "spare": "resumed from a spare",
  "continue": "continued from where it was suspended",
};

/** An instance's state: green if all is well, red if something is wrong. */
export function paintedState(state: StateName, text: string = state): Cell {
  if (state === "running") return { text, style: "green" };
  if (state === "paused") return { text, style: "yellow" };
  return ["crashed", "abandoned", "unresponsive", "damaged"].includes(state) ? { text, style: "red" } : text;
}

/** What programs want to know, by names for a shell. */
function variablesOf({ profile, instance, state, running }: Status): Record<string, string> {
  const named = (kind: string, values: Record<string, unknown> = {}) =>
    Object.entries(values).map(([name, value]) => [
      `HOTBOOT_${kind}_${name.toUpperCase().replaceAll(/[^A-Z0-9]/g, "_")}`,
      String(value),
    ]);
  return Object.fromEntries([
    ["HOTBOOT_PROFILE", profile],
    ["HOTBOOT_INSTANCE", instance],
    ["HOTBOOT_STATE", state],
    ...named("URL", running?.urls),
    ...named("PORT", running?.ports),
  ]);
}

function describe(status: Status): [string, Cell][] {
  const { profile, instance, of, state, why, running, acceleration, image, snapshot, spares } = status;
  const rows: [string, Cell][] = [["profile", profile], ["instance", paintedState(state, `${instance}, ${state}`)]];
  if (of) rows.push(["", `belongs to profile '${of}'`]);
  if (why) rows.push(["", why]);
  if (running) {
    const from = running.snapshot ? `, on snapshot ${running.snapshot}` : "";
    rows.push(["started", `${running.started}, ${HOW[running.origin]}${from}`]);
    for (const [name, url] of Object.entries(running.urls)) rows.push([name, url]);
    if (running.secrets) {
      rows.push([
        "secrets",
        running.lostSecrets
          ? `no longer in effect: ${running.lostSecrets}; 'hotboot start' puts them in again`
          : running.secrets === "rotated"
          ? "its own"
          : "the image's placeholders, which are public",
      ]);
    }
    const health = Object.entries(running.health).map(([name, green]) => `${name} ${green ? "ok" : "not healthy"}`);
    const style = Object.values(running.health).every(Boolean) ? "green" : "red";
    if (health.length > 0) rows.push(["health", { text: health.join(", "), style }]);
  }
  if (acceleration) {
    const { accelerator, passedOver } = acceleration;
    rows.push(["QEMU", passedOver ? describePassedOver(passedOver) : `accelerator ${accelerator}`]);
  }
  rows.push(["image", image ? ("error" in image ? image.error : `${image.path}, ${image.created}`) : "none"]);
  if (image && "origin" in image) {
    rows.push(["", originOf(image.origin)]);
    if (image.provenance) rows.push(["", `built by ${image.provenance.workflow}, ${image.provenance.run}`]);
  }
  rows.push(["snapshot", snapshot ? ("error" in snapshot ? snapshot.error : snapshot.id) : "none"]);
  if (spares) rows.push(["spares", `${spares.spares} of ${spares.wanted}`]);
  return rows;
}

function originOf(origin: ImageOrigin): string {
  if (origin.kind === "adopted") return "not put there by hotboot";
  if (origin.kind === "build") return `built here, recipe ${origin.recipe.slice(0, 12)}`;
  if (origin.kind === "oci") return `${origin.reference}@${origin.digest}, ${origin.published}`;
  const which = origin.kind === "release"
    ? `release ${origin.tag}`
    : `run ${origin.run}${origin.branch ? ` (branch ${origin.branch})` : ""}`;
  return `${which} of ${origin.repository}, ${origin.published}, ${origin.version}`;
}
