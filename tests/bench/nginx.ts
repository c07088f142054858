/** A real web server for files. */

import { sleep } from "../../lib/base/wait.ts";

/**
 * Serves a directory's files, until it is disposed.
 *
 * @param more Further directives of the server.
 */
export async function serveFiles(directory: string, port: number, more = ""): Promise<AsyncDisposable> {
  const own = await Deno.makeTempDir({ prefix: "hotboot-nginx-" });
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${own}/${name};`).join(" ");
  await Deno.writeTextFile(
    `${own}/nginx.conf`,
    `daemon off; pid ${own}/pid; error_log ${own}/error.log; worker_processes 1; user root; events {}
    http { access_log off; sendfile on; tcp_nopush on; ${temporary}
      server { listen 127.0.0.1:${port}; root ${directory}; ${more} } }\n`,
  );
  const nginx = new Deno.Command("nginx", { args: ["-c", `${own}/nginx.conf`], stderr: "null" }).spawn();
  const end = async () => {
    nginx.kill("SIGTERM");
    await nginx.status;
    await Deno.remove(own, { recursive: true });
  };
  for (let tries = 0; tries < 100; tries++) {
    const isUp = await Deno.connect({ port, hostname: "127.0.0.1" }).then(
      (connection) => (connection.close(), true),
      () => false,
    );
    if (isUp) return { [Symbol.asyncDispose]: end };
    await sleep(50);
  }
  await end();
  throw new Error("nginx does not listen");
}
