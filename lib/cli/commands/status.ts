import type { ImageOrigin } from "../../image/image.ts";
import type { Status } from "../../emulator/status.ts";
import { describePassedOver } from "../../vm/accelerator.ts";
import { print, printJson } from "../ui/console.ts";
import type { Command } from "./command.ts";
import { emulatorOf } from "./context.ts";
import type { Origin } from "../../instance/record.ts";
import { FAILURE, OK } from "./outcome.ts";

export const command: Command = {
  trust: "looks",
  about:
    "Show the instance, the health of its services, the image and the snapshot. The exit code is 0 only if the instance\n" +
    "runs and all of it is healthy, otherwise 1.",
  flags: [],
  async run(context) {
    const { isUp, status } = await import("../../emulator/status.ts");
    const result = await status(await emulatorOf(context));
    if (context.args.switches.has("json")) await printJson(result);
    else await print(describe(result).map(([name, text]) => `${name.padEnd(10)} ${text}`).join("\n"));
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

function describe(status: Status): [string, string][] {
  const { profile, instance, of, state, why, running, acceleration, image, snapshot, spares } = status;
  const rows: [string, string][] = [["profile", profile], ["instance", `${instance}, ${state}`]];
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
    if (health.length > 0) rows.push(["health", health.join(", ")]);
  }
  if (acceleration) {
    const { accelerator, passedOver } = acceleration;
    rows.push(["QEMU", passedOver ? describePassedOver(passedOver) : `accelerator ${accelerator}`]);
  }
  rows.push(["image", image ? ("error" in image ? image.error : `${image.path}, ${image.created}`) : "none"]);
  if (image && "origin" in image) rows.push(["", originOf(image.origin)]);
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
