/** Which hosts need no proxy. */

import { assertEquals } from "@std/assert";
import { plainProxies, proxyFor } from "../../lib/release/network.ts";
import { isExempt, plainExemptions } from "../../lib/release/no_proxy.ts";

Deno.test("NO_PROXY: the forms of curl, Go and Node.js become Deno's", () => {
  const forms = {
    "Example.COM, other.org": "example.com,other.org",
    "a.org b.org\tc.org": "a.org,b.org,c.org",
    "*.example.com": ".example.com",
    "registry.corp:5000,127.0.0.1:80": "registry.corp,127.0.0.1",
    "[::1],[fe80::1]:8080,::1,fd00::/8": "::1,fe80::1,fd00::/8",
    "10.0.0.0/8": "10.0.0.0/8",
    "*": "*,0.0.0.0/0,::/0",
    " , ": "",
  };
  for (const [text, plain] of Object.entries(forms)) {
    assertEquals(plainExemptions(text), plain);
    assertEquals(plainExemptions(plain), plain);
  }
});

Deno.test("NO_PROXY: a host matches a domain, and an address matches addresses and ranges only", () => {
  const cases: [string, string, boolean][] = [
    ["example.com", "example.com", true],
    ["a.example.com", "example.com", true],
    ["a.example.com", ".example.com", true],
    ["anexample.com", "example.com", false],
    ["example.com", "*", true],
    ["10.1.2.3", "*", false], // Deno's own, so plainExemptions() adds all addresses
    ["10.1.2.3", "10.0.0.0/8", true],
    ["11.1.2.3", "10.0.0.0/8", false],
    ["10.1.2.3", "2.3", false],
    ["10.1.2.3", "10.0.0.0/99", false],
    ["[::1]", "::1", true],
    ["[fd00::2]", "fd00::/8", true],
    ["[fe80::2]", "fd00::/8,10.0.0.0/8", false],
    ["example.com", "", false],
  ];
  for (const [host, text, expected] of cases) assertEquals(isExempt(host, text), expected, `${host} in ${text}`);
});

Deno.test("proxies: what Deno would ignore in silence is written as Deno reads it", () => {
  const plain = plainProxies({
    HTTPS_PROXY: "http://user@proxy:3128",
    http_proxy: "user@proxy",
    ALL_PROXY: "socks5://user:secret@proxy",
    all_proxy: "proxy:1080",
    NO_PROXY: "",
    no_proxy: "*.Example.com",
  });
  assertEquals(plain, {
    HTTPS_PROXY: "http://user:@proxy:3128",
    http_proxy: "user:@proxy",
    ALL_PROXY: "socks5://user:secret@proxy",
    all_proxy: "proxy:1080",
    NO_PROXY: ".example.com",
    no_proxy: ".example.com",
  });
});

Deno.test("proxies: a range of addresses exempts those in it, and no others", () => {
  const variables = { HTTP_PROXY: "http://proxy:3128", NO_PROXY: "10.0.0.0/8" };
  assertEquals(proxyFor("http://10.1.2.3/", variables), undefined);
  assertEquals(proxyFor("http://127.0.0.1/", variables)?.url.host, "proxy:3128"); // so no token is sent there
});
