/** What the page has asked for, and how it goes. Several things can go on at once: the instances' locks keep order. */

import { HotbootError, messageOf } from "../base/error.ts";
import { type Ask, resultOf } from "./ask.ts";
import type { Looks } from "./looks.ts";
import type { Activity } from "./view.ts";
import type { Wanted } from "./wishes.ts";

/** How many that are over are shown. */
const KEPT = 5;
/** No more at once. */
const MOST = 16;

/** All of them. */
export class Activities {
  readonly #ask: Ask;
  readonly #looks: Looks;
  readonly #signal: AbortSignal;
  #all: Activity[] = [];
  #going = new Map<number, { end: AbortController; done: Promise<void> }>();
  #last = 0;

  /** @param signal Ends all of them. */
  constructor(ask: Ask, looks: Looks, signal: AbortSignal) {
    this.#ask = ask;
    this.#looks = looks;
    this.#signal = signal;
  }

  /** Begins one. @throws {HotbootError} if there are too many. */
  begin(wanted: Wanted): number {
    if (this.#going.size >= MOST) throw new HotbootError(`${MOST} things are being done: wait until one has ended`);
    const id = ++this.#last;
    const end = new AbortController();
    const { what, instance } = wanted;
    this.#all.push({ id, what, instance, state: "at work", text: "" });
    this.#going.set(id, { end, done: this.#run(id, wanted, AbortSignal.any([end.signal, this.#signal])) });
    return id;
  }

  /** Interrupts one, as Ctrl-C does. */
  interrupt(id: number): void {
    this.#going.get(id)?.end.abort();
  }

  /** When all have ended. */
  async ended(): Promise<void> {
    await Promise.all([...this.#going.values()].map(({ done }) => done));
  }

  async #run(id: number, { name, args }: Wanted, signal: AbortSignal): Promise<void> {
    try {
      this.#change(id, {});
      const warnings: string[] = [];
      const onLine = (text: string) => {
        if (text.startsWith("warning: ")) warnings.push(text);
        if (text !== "") this.#change(id, { text });
      };
      await resultOf(this.#ask, { name, args, signal }, onLine);
      this.#change(id, { state: "done", text: warnings.join(" ") });
    } catch (error) {
      this.#change(
        id,
        signal.aborted ? { state: "interrupted", text: "" } : { state: "failed", text: messageOf(error) },
      );
    }
    this.#going.delete(id);
    const over = this.#all.filter(({ id }) => !this.#going.has(id)).slice(0, -KEPT);
    this.#all = this.#all.filter((each) => !over.includes(each));
    this.#looks.show(this.#all);
    this.#looks.lookNow();
  }

  #change(id: number, change: Partial<Activity>): void {
    this.#all = this.#all.map((each) => each.id === id ? { ...each, ...change } : each);
    this.#looks.show(this.#all);
  }
}
