/** A Worker that tries things in a command's sandbox, and reports which were refused. For `permissions_test.ts`. */

/** Something to try. */
export type Attempt =
  | { kind: "read" | "write" | "link" | "dlopen" | "import"; path: string }
  | { kind: "connect"; hostname: string; port: number }
  | { kind: "listen"; hostname: string; port: number }
  | { kind: "socket"; path: string }
  | { kind: "ask"; descriptor: Deno.PermissionDescriptor }
  | { kind: "run"; program: string }
  | { kind: "variable"; name: string }
  | { kind: "system"; name: "osUptime" | "hostname" | "uid" | "networkInterfaces" }
  | { kind: "worker" };

/** The outcome. */
export type Outcome = "done" | "refused" | string;

async function attempt(what: Attempt): Promise<void> {
  switch (what.kind) {
    case "read":
      return void ((await Deno.stat(what.path)).isDirectory
        ? await Array.fromAsync(Deno.readDir(what.path))
        : await Deno.readFile(what.path));
    case "write":
      return await Deno.writeTextFile(what.path, "written", { append: true });
    case "link":
      return await Deno.link(what.path, `${what.path}.link`);
    case "dlopen":
      return void Deno.dlopen(what.path, {});
    case "import":
      return void await import(what.path);
    case "connect":
      return (await Deno.connect(what)).close();
    case "listen":
      return Deno.listen(what).close();
    case "socket":
      return (await Deno.connect({ transport: "unix", path: what.path })).close();
    case "ask": // only the permission: it connects to nothing
      if ((await Deno.permissions.query(what.descriptor)).state !== "granted") throw new Deno.errors.NotCapable();
      return;
    case "run":
      return void await new Deno.Command(what.program, { args: ["--version"], stdout: "null", stderr: "null" })
        .output();
    case "variable":
      return void Deno.env.get(what.name);
    case "system":
      return void Deno[what.name]();
    case "worker": { // one with more permissions than this one
      const code = "data:text/javascript,postMessage(0)";
      const options = { type: "module", deno: { permissions: { read: true, run: true } } } as WorkerOptions;
      return new Worker(code, options).terminate();
    }
  }
}

async function outcome(what: Attempt): Promise<Outcome> {
  try {
    await attempt(what);
    return "done";
  } catch (error) {
    return error instanceof Deno.errors.NotCapable || /^Requires \w+ access|scoped grant/.test((error as Error).message)
      ? "refused"
      : String(error);
  }
}

if ("WorkerGlobalScope" in globalThis) {
  const scope = globalThis as unknown as Worker;
  scope.onmessage = async ({ data }: MessageEvent<Attempt[]>) => {
    scope.postMessage(await Promise.all(data.map(outcome)));
  };
}
