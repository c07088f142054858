/** Leaving a stack to the user. */

import { fromFileUrl } from "@std/path/from-file-url";
import { GUESTS } from "../base/bundle.ts";
import { stop } from "../emulator/stop.ts";
import type { Emulator } from "../instance/emulator.ts";
import { shellCommand } from "../base/shell.ts";

/** Suspends it, and says how to look inside. */
export async function suspendForUser(emulator: Emulator): Promise<void> {
  const { kept } = await stop({ ...emulator, signal: new AbortController().signal });
  const words = ["--profile", profileArgument(emulator), "--home", emulator.home.root, "--instance", emulator.instance];
  const which = words.map((word) => /^[\w./@:+-]+$/.test(word) ? word : shellCommand([word])).join(" ");
  emulator.report.warn(
    `instance '${emulator.instance}' is kept, ${kept ?? "stopped"}. To continue it: hotboot start ${which}` +
      " (then 'exec' and 'logs' look inside, and 'reset' drops it)",
  );
}

/** What names the profile on the command line. */
function profileArgument({ profile, profileUrl }: Emulator): string {
  const isBuiltIn = profileUrl.href === new URL(`${profile.name}/profile.json`, GUESTS).href;
  return isBuiltIn || profileUrl.protocol !== "file:" ? profile.name : fromFileUrl(profileUrl);
}
