/** The micro guest with a secret: the key of its project endpoint, which it also serves. */

import type { Profile } from "../../lib/profile/profile.ts";
import { GuestHome, type GuestOptions } from "./guest_home.ts";

/** Its placeholder in the image. */
export const PLACEHOLDER = "00000000000000000000000000000000000000000000000000000000000000aa";

/** Rotates it. The guest serves /www, and `/run` is a tmpfs. */
export const ROTATE = `umask 077; cat >/run/payload; . /run/payload; umask 022; echo "$TOKEN" >/www/token`;

/** A home whose guest rotates with this shell command. */
export function secretMicro(
  command: string,
  change: (profile: Profile) => void = () => {},
  options: GuestOptions = {},
): Promise<GuestHome> {
  return GuestHome.make({
    ...options,
    change: (profile) => {
      profile.secrets = [{ name: "TOKEN", placeholder: PLACEHOLDER }];
      profile.rotation = {
        command: ["sh", "-c", command],
        timeout: 30,
        proof: [{
          name: "the token is served",
          port: "web",
          path: "/token",
          contains: ["${secret.TOKEN}"],
          excludes: ["${placeholder.TOKEN}"],
        }],
      };
      change(profile);
    },
  });
}
