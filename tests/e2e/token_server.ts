/** Gives tokens for a registry, as Distribution's "Token Authentication Specification" says. */

import { encodeBase64 } from "@std/encoding/base64";
import { tool } from "./snapshots.ts";

/** A server that gives tokens to one user. */
export class TokenServer implements AsyncDisposable {
  /** Who has asked with a login. */
  readonly logins: string[] = [];
  /** How many tokens it has given. */
  given = 0;
  /** What those without a login may do. */
  anonymous: string[] = [];
  /** Whether each token that is not the answer to an expired one has expired itself. */
  givesExpired = false;
  #isGood = true;
  #server: Deno.HttpServer<Deno.NetAddr>;
  #stop = new AbortController();
  #key?: CryptoKey;
  #certificate = "";

  private constructor(readonly user: { user: string; password: string }) {
    const signal = this.#stop.signal;
    this.#server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {}, signal },
      (request) => this.#answer(request),
    );
  }

  static start(user: { user: string; password: string }): Promise<TokenServer> {
    return Promise.resolve(new TokenServer(user));
  }

  get host(): string {
    return `localhost:${this.#server.addr.port}`;
  }

  /** The registry's configuration; makes the key with which tokens are signed. */
  async configure(directory: string): Promise<string> {
    await tool(
      `cd ${directory} && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=tokens 2>/dev/null`,
    );
    const der = (pem: string) =>
      Uint8Array.from(atob(pem.replaceAll(/-----[^-]+-----|\s/g, "")), (c) => c.charCodeAt(0));
    this.#certificate = encodeBase64(der(await Deno.readTextFile(`${directory}/cert.pem`)));
    const algorithm = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
    this.#key = await crypto.subtle.importKey(
      "pkcs8",
      der(await Deno.readTextFile(`${directory}/key.pem`)),
      algorithm,
      false,
      ["sign"],
    );
    return `auth: {token: {realm: "http://${this.host}/token", service: tests, issuer: tests, rootcertbundle: ${directory}/cert.pem}}\n`;
  }

  async #answer(request: Request): Promise<Response> {
    const { searchParams } = new URL(request.url);
    const given = request.headers.get("authorization");
    const isUser = given === `Basic ${btoa(`${this.user.user}:${this.user.password}`)}`;
    if (given !== null) this.logins.push(atob(given.replace("Basic ", "")).split(":")[0]);
    if (given !== null && !isUser) return new Response(null, { status: 401 });
    const access = searchParams.getAll("scope").map((scope) => {
      const [type, name, actions] = scope.split(":");
      return { type, name, actions: actions.split(",").filter((each) => isUser || this.anonymous.includes(each)) };
    });
    this.given++;
    this.#isGood = !this.givesExpired || !this.#isGood;
    return Response.json({ token: await this.#sign(access) });
  }

  async #sign(access: object[]): Promise<string> {
    const now = Math.floor(Date.now() / 1000);
    const encode = (bytes: Uint8Array) =>
      encodeBase64(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
    const part = (value: object) => encode(new TextEncoder().encode(JSON.stringify(value)));
    const times = { nbf: now - 10, iat: now - 10, exp: this.#isGood ? now + 60 : now - 120 }; // registries accept a minute more
    const signed = `${part({ typ: "JWT", alg: "RS256", x5c: [this.#certificate] })}.${
      part({ iss: "tests", aud: "tests", sub: "", jti: crypto.randomUUID(), ...times, access })
    }`;
    const signature = await crypto.subtle.sign("RSASSA-PKCS1-v1_5", this.#key!, new TextEncoder().encode(signed));
    return `${signed}.${encode(new Uint8Array(signature))}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#server.finished.catch(() => {});
  }
}
