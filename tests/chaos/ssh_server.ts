/** A real SSH server on a port of its own, whose files are mounted by sshfs. */

import { freePort } from "../e2e/shared.ts";
import { until } from "../e2e/pace.ts";
import { tool } from "../e2e/tool.ts";

export class SshServer implements AsyncDisposable {
  private constructor(readonly directory: string, readonly port: number, readonly process: Deno.ChildProcess) {}

  static async start(directory: string): Promise<SshServer> {
    const of = (name: string) => `${directory}/${name}`;
    for (const key of ["host", "user"]) await tool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", of(key));
    await Deno.mkdir("/run/sshd", { recursive: true }); // where it separates its privileges
    const port = freePort();
    const settings = {
      ...{ Port: port, ListenAddress: "127.0.0.1", HostKey: of("host"), AuthorizedKeysFile: of("user.pub") },
      ...{ StrictModes: "no", UsePAM: "no", PidFile: "none", PermitRootLogin: "yes", Subsystem: "sftp internal-sftp" },
    };
    const lines = Object.entries(settings).map(([name, value]) => `${name} ${value}\n`);
    await Deno.writeTextFile(of("sshd_config"), lines.join(""));
    const args = ["-D", "-f", of("sshd_config")];
    const process = new Deno.Command("/usr/sbin/sshd", { args, stdout: "null", stderr: "null" }).spawn();
    const answers = () => Deno.connect({ port }).then((connection) => (connection.close(), true), () => false);
    await until(answers, "the SSH server");
    return new SshServer(directory, port, process);
  }

  /** Mounts a directory of the server's. */
  async mount(remote: string, path: string): Promise<void> {
    const options = `IdentityFile=${this.directory}/user,StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null`;
    await tool("sshfs", `127.0.0.1:${remote}`, path, "-p", String(this.port), "-o", options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.process.kill("SIGTERM");
    await this.process.status;
  }
}
