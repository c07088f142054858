/** A thread that does jobs: the messages to and from it. */

import { messageOf } from "../base/error.ts";
import { ZstdError } from "./frame.ts";
import { type Extent, type Job, Jobs, type Setup } from "./jobs.ts";

/** The name of these threads, which tells this module that it runs in one. */
export const WORKER_NAME = "hotboot-zstd";

/** Its input: first what to work on, then one job after the other. */
export type Request = Setup | Job;

/** Its output: one `done` or `failed` for each request, possibly after an `extent`. */
export type Reply =
  | { kind: "extent"; extent: Extent }
  | { kind: "done"; bytes?: Uint8Array<ArrayBuffer> }
  | { kind: "failed"; message: string; isOurs: boolean };

/** Handles a request; `reply` gets all answers. */
export class Responder {
  #jobs?: Jobs;
  #reply: (reply: Reply) => void;

  constructor(reply: (reply: Reply) => void) {
    this.#reply = reply;
  }

  /** Answers one request. */
  async respond(request: Request): Promise<void> {
    try {
      if (!("kind" in request)) {
        this.#jobs = await Jobs.open(request);
        this.#reply({ kind: "done" });
      } else if (request.kind === "compress") {
        this.#reply({ kind: "done", bytes: this.#jobs!.compress(request) });
      } else if (request.kind === "write") {
        this.#reply({ kind: "done", bytes: this.#jobs!.write(request) });
      } else {
        this.#jobs!.decompress(request, (extent) => this.#reply({ kind: "extent", extent }));
        this.#reply({ kind: "done" });
      }
    } catch (error) {
      this.#reply({ kind: "failed", message: messageOf(error), isOurs: error instanceof ZstdError });
    }
  }

  /** Closes the files. */
  close(): void {
    this.#jobs?.[Symbol.dispose]();
  }
}

interface WorkerScope {
  name?: string;
  postMessage(reply: Reply, transfer: ArrayBuffer[]): void;
  onmessage: (event: MessageEvent<Request>) => void;
}

const scope = globalThis as unknown as WorkerScope;
if (scope.name === WORKER_NAME && !("document" in globalThis)) {
  const responder = new Responder((reply) => {
    scope.postMessage(reply, reply.kind === "done" && reply.bytes ? [reply.bytes.buffer] : []);
  });
  scope.onmessage = ({ data }) => void responder.respond(data);
}
