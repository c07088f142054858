/** Runs a script recipe. */

import { TextLineStream } from "@std/streams/text-line-stream";
import { terminateOnAbort } from "../base/child.ts";
import { HotbootError } from "../base/error.ts";
import { onPath } from "../base/on_path.ts";
import { within } from "../base/wait.ts";
import type { ScriptRecipe } from "../profile/profile.ts";
import type { Emulator } from "../instance/emulator.ts";
import { scriptPath } from "./recipe.ts";

/**
 * Runs a script, and ends everything it started when it ends or is ended. Deno lets only programs with all run permissions
 * end a process group. The umask keeps the image independent of the user's. The script gets no tokens.
 */
const IN_A_GROUP = `umask 022
for name in $(compgen -e); do case $name in *TOKEN) unset "$name" ;; esac; done
end() { trap "" TERM; kill -TERM -- -$$; }
trap end TERM
bash "$0" "$@" & wait $!
code=$?
end
exit $code`;

/**
 * Runs the script, which puts its results into the directory `output`. It runs in a process group of its own, so that ending
 * it ends everything it started.
 *
 * @throws {HotbootError} if it fails, with its last output.
 */
export async function runScript(emulator: Emulator, recipe: ScriptRecipe, output: string): Promise<void> {
  const { profile, report, signal } = emulator;
  const bash = await onPath("bash");
  if (!bash) throw new HotbootError("bash, which runs the recipe, is not on PATH: install it");
  const script = await scriptPath(emulator, recipe, output);
  const child = new Deno.Command(bash, {
    args: ["-c", IN_A_GROUP, script, output, emulator.arch],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    detached: true,
  }).spawn();
  using _ending = terminateOnAbort(child, signal);
  try {
    signal.throwIfAborted();
    let lastWords = "";
    const hear = (line: string) => { // on either stream: tools that call back into the recipe may merge them
      const step = line.match(/^step (.+)/)?.[1];
      if (step) return report.step(step);
      if (line.trim() !== "") lastWords = line.trim();
      report.detail(line);
    };
    // After an abort, do not wait for a process that left the group and holds the pipe.
    const heard = Promise.all([child.stdout, child.stderr].map((stream) => forEachLine(stream, hear, signal)));
    await within(heard, "the recipe", { signal });
    const { code } = await child.status;
    signal.throwIfAborted();
    if (code !== 0) {
      throw new HotbootError(
        `building the image of '${profile.name}' failed (exit code ${code}): ${lastWords}; correct the recipe`,
      );
    }
  } finally {
    await child.status;
  }
}

async function forEachLine(
  stream: ReadableStream<Uint8Array>,
  use: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const text = stream.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>, { signal });
  const lines: ReadableStream<string> = text.pipeThrough(new TextLineStream());
  for await (const line of lines) use(line);
}
