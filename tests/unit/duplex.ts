/** A byte stream; the test plays the other side. */

import type { Duplex } from "../../lib/vm/json_lines.ts";

export interface FakePeer extends Duplex {
  /** What the code under test has sent, as text. */
  sent: string[];
  /** Sends text, or raw bytes, in one piece. */
  send(what: string | Uint8Array): void;
  /** Ends the stream. */
  end(): void;
  /** Called with each piece that is sent. */
  onSent: (text: string) => void;
}

export function fakePeer(): FakePeer {
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  let ended = false;
  const peer: FakePeer = {
    sent: [],
    onSent: () => {},
    readable: new ReadableStream<Uint8Array>({
      start: (given) => void (controller = given),
      cancel: () => void (ended = true),
    }),
    writable: new WritableStream<Uint8Array>({
      write(chunk) {
        const text = new TextDecoder("latin1").decode(chunk);
        peer.sent.push(text);
        peer.onSent(text);
      },
    }),
    send: (what) => controller.enqueue(typeof what === "string" ? new TextEncoder().encode(what) : what),
    end: () => {
      if (!ended) controller.close();
      ended = true;
    },
  };
  return peer;
}
