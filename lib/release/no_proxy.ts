/**
 * Which hosts need no proxy. People write that variable as curl, Go or Node.js reads it, and Deno reads less.
 *
 * Source: the manuals of curl (`NO_PROXY`), of Go's golang.org/x/net/http/httpproxy, and of Node.js (`NODE_USE_ENV_PROXY`).
 */

import { BlockList, isIP } from "node:net";

/**
 * The entries in the forms that Deno knows: separated by commas, in lower case, `.example.com` for `*.example.com`, `::1` for
 * `[::1]`, and without ports: a host that needs no proxy at one port needs none at all. To Deno, `*` is no address.
 */
export function plainExemptions(text: string): string {
  const plain = text.toLowerCase().split(/[\s,]+/).filter((entry) => entry !== "").map((entry) => {
    const host = entry.replace(/^\[(.+)\](:\d+)?$/, "$1").replace(/^([^:]+):\d+$/, "$1");
    return host.replace(/^\*\./, ".");
  });
  if (plain.includes("*")) plain.push("0.0.0.0/0", "::/0");
  return [...new Set(plain)].join(",");
}

/** Whether Deno asks no proxy for a host. @param text What `NO_PROXY` says, in plain forms. */
export function isExempt(hostname: string, text: string): boolean {
  const host = hostname.replace(/^\[(.+)\]$/, "$1");
  const entries = text.split(",").map((entry) => entry.trim());
  if (isIP(host)) return entries.some((entry) => contains(entry, host));
  return entries.some((entry) =>
    entry === "*" || (entry !== "" && `.${host}`.endsWith(`.${entry.replace(/^\./, "")}`))
  );
}

/** Whether an address, or a range of addresses such as `10.0.0.0/8`, has the address `host`. */
function contains(entry: string, host: string): boolean {
  const [address, bits] = entry.split("/");
  const family = isIP(address);
  if (!family || family !== isIP(host)) return false;
  const most = family === 4 ? 32 : 128;
  const prefix = bits === undefined ? most : Number(bits);
  if (!(prefix >= 0 && prefix <= most)) return false;
  const [type, list] = [family === 4 ? "ipv4" : "ipv6", new BlockList()] as const;
  list.addSubnet(address, prefix, type);
  return list.check(host, type);
}
