/** The command for each thing that the page may ask for. What comes from the browser is checked here. */

import { HotbootError } from "../base/error.ts";
import type { InstanceView, Wish } from "./view.ts";

/** A command: its name, its arguments, and what it does in words. */
export interface Wanted {
  name: string;
  args: string[];
  what: string;
  instance: string;
}

/** The command for a wish. @throws {HotbootError} if there is no such thing to ask for, or a name is wrong. */
export function commandFor(wish: unknown, instances: InstanceView[]): Wanted {
  const { verb, ...given } = Object(wish) as Record<string, unknown>;
  const text = (field: string) => typeof given[field] === "string" ? given[field] : "";
  const on = (instance: string) => optionsFor(instance, instances);
  const instance = text("instance");
  switch (verb as Wish["verb"]) {
    case "start":
      return { name: "start", args: on(instance), what: `start ${instance}`, instance };
    case "stop": {
      const isShutdown = text("how") === "shutdown";
      const args = [...on(instance), ...isShutdown ? ["--shutdown"] : []];
      return { name: "stop", args, what: `${isShutdown ? "shut down" : "suspend"} ${instance}`, instance };
    }
    case "reset":
      if (text("confirmed") !== instance) {
        throw new HotbootError(`nothing was reset: type the instance's name, ${instance}, to confirm it`);
      }
      return { name: "reset", args: on(instance), what: `reset ${instance}`, instance };
    case "fork": {
      const [name, source] = [newInstance(text("name")), text("source")];
      const known = instances.find((each) => each.instance === source);
      const arch = known ? archOption(known) : [];
      return { name: "fork", args: [...arch, saved(source), name], what: `fork ${source} as ${name}`, instance: name };
    }
    case "save": {
      const name = saved(text("name"));
      return { name: "snapshot save", args: [...on(instance), name], what: `save ${instance} as ${name}`, instance };
    }
    default:
      throw new HotbootError("the page asks for what hotboot does not know: try again after a reload");
  }
}

/** The options that name an instance of the home. @throws {HotbootError} if there is none of that name. */
export function optionsFor(instance: unknown, instances: InstanceView[]): string[] {
  const known = instances.find((each) => each.instance === instance);
  if (!known) throw new HotbootError("there is no such instance any more: choose another one");
  const { elsewhere: how } = known;
  if (how) throw new HotbootError(`instance '${known.instance}' is of another profile: ${how}`);
  return ["--instance", newInstance(known.instance), ...archOption(known)];
}

function archOption({ arch }: InstanceView): string[] {
  return arch === undefined ? [] : ["--arch", arch];
}

/** As {@linkcode openEmulator} wants it; nor can it be taken for an option. */
function newInstance(name: string): string {
  if (/^[a-z0-9][a-z0-9-]{0,62}$/.test(name)) return name;
  throw new HotbootError(
    `an instance cannot be called '${name}': use at most 63 lower-case letters, digits and dashes, the first no dash`,
  );
}

/** A checkpoint's name, the id of one, or an instance's name. */
function saved(name: string): string {
  if (/^\w[\w.-]{0,63}$/.test(name)) return name;
  throw new HotbootError(
    `a checkpoint cannot be called '${name}': use a letter, then letters, digits, '.', '_' or '-'`,
  );
}
