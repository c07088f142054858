/** Runs jobs in several threads, or in this one if there are none. */

import { ZSTD_WORKER } from "../base/bundle.ts";
import type { Extent, Job, Setup } from "./jobs.ts";
import { type Reply, type Request, Responder, WORKER_NAME } from "./worker.ts";
import { ZstdError } from "./frame.ts";

/** More would take more memory than they are worth: each has its own engine and some frames. */
const MOST_THREADS = 4;

/** What is asked of one thread. */
interface Asked {
  resolve(bytes?: Uint8Array<ArrayBuffer>): void;
  reject(error: unknown): void;
  onExtent?(extent: Extent): void;
}

/** One thread. */
class Lane {
  /** What has not been answered, in the order of the answers. */
  asked: Asked[] = [];
  #send: (request: Request) => void;
  #close: () => void;

  constructor(worker?: Worker) {
    if (!worker) {
      const responder = new Responder((reply) => this.#answer(reply));
      this.#send = (request) => void setTimeout(() => responder.respond(request)); // other work has its turn
      this.#close = () => responder.close();
      return;
    }
    worker.onmessage = ({ data }) => this.#answer(data);
    worker.onerror = (event) => {
      event.preventDefault();
      for (const { reject } of this.asked.splice(0)) reject(new Error(event.message));
    };
    this.#send = (request) => {
      worker.postMessage(request, "kind" in request && request.kind === "write" ? [request.bytes.buffer] : []);
    };
    this.#close = () => worker.terminate();
  }

  ask(request: Request, onExtent?: (extent: Extent) => void): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return new Promise((resolve, reject) => {
      this.asked.push({ resolve, reject, onExtent });
      this.#send(request);
    });
  }

  #answer(reply: Reply): void {
    if (reply.kind === "extent") return this.asked[0]?.onExtent?.(reply.extent);
    const asked = this.asked.shift();
    if (reply.kind === "done") asked?.resolve(reply.bytes);
    else asked?.reject(reply.isOurs ? new ZstdError(reply.message) : new Error(reply.message));
  }

  close(): void {
    this.#close();
    for (const { reject } of this.asked.splice(0)) reject(new Error("it was ended"));
  }
}

function startWorker(): Worker | undefined {
  try {
    return new Worker(ZSTD_WORKER, { type: "module", name: WORKER_NAME });
  } catch {
    return undefined; // a runtime without threads, or none permitted
  }
}

function threads(): number {
  return Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1);
}

/** All threads of one file's work. */
export class Pool implements Disposable {
  #lanes: Lane[];

  private constructor(lanes: Lane[]) {
    this.#lanes = lanes;
  }

  /** Starts as many as there are cores, up to a limit, but not more than there are jobs; and none for a single job. */
  static async open(setup: Setup, jobs: number): Promise<Pool> {
    const count = Math.max(1, Math.min(threads(), jobs));
    const pool = new Pool(Array.from({ length: count }, () => new Lane(count > 1 ? startWorker() : undefined)));
    try {
      await Promise.all(pool.#lanes.map((lane) => lane.ask(setup)));
    } catch (error) {
      pool[Symbol.dispose]();
      throw error;
    }
    return pool;
  }

  /** How many threads there are. */
  get size(): number {
    return this.#lanes.length;
  }

  /** Gives the job to the thread that has the least to do. */
  run(job: Job, onExtent?: (extent: Extent) => void): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const lane = this.#lanes.reduce((best, lane) => lane.asked.length < best.asked.length ? lane : best);
    return lane.ask(job, onExtent);
  }

  [Symbol.dispose]() {
    for (const lane of this.#lanes) lane.close();
  }
}
