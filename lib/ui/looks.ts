/** Looks at the home again and again while somebody looks at the page. */

import { messageOf } from "../base/error.ts";
import { sleep } from "../base/wait.ts";
import type { InstanceInfo } from "../emulator/list.ts";
import type { SnapshotInfo } from "../emulator/snapshots.ts";
import type { RecordedRun } from "../instance/history.ts";
import { type Ask, resultOf } from "./ask.ts";
import { Changing } from "./events.ts";
import type { Activity, InstanceView, View } from "./view.ts";

const PAUSE_MS = 2000;
/** Snapshots change less often, and take longer to list: they are listed each so many looks. */
const SNAPSHOTS_EACH = 8;

/** Whose page it is. */
export interface Whose {
  /** The profile's name. */
  profile: string;
  /** hotboot's directory. */
  home: string;
  /** The profile's own instance. */
  instance: string;
}

/** What is there, as far as it was looked at. */
export class Looks {
  readonly #ask: Ask;
  readonly #whose: Whose;
  readonly #signal: AbortSignal;
  /** What the page shows. */
  readonly view: Changing<View>;
  #watchers = 0;
  #isAgain = false;
  #wake = () => {};
  #isLooking = false;
  #areSnapshotsOld = true;
  /** How often something was done. */
  #done = 0;
  /** Of each instance, with the state of it that it belongs to. */
  #lastRuns = new Map<string, { of: string; run: RecordedRun | undefined }>();

  constructor(ask: Ask, whose: Whose, signal: AbortSignal) {
    this.#ask = ask;
    this.#whose = whose;
    this.#signal = signal;
    const { profile, home } = whose;
    this.view = new Changing<View>({ profile, home, instances: [], snapshots: [], activities: [] });
  }

  /** Looks until the returned function is called. */
  watch(): () => void {
    this.#watchers++;
    if (!this.#isLooking) void this.#look();
    else this.lookNow();
    let isOver = false;
    return () => {
      if (!isOver) this.#watchers--;
      isOver = true;
    };
  }

  /** Looks at everything without waiting: something has changed. */
  lookNow(): void {
    this.#done++;
    this.#areSnapshotsOld = true;
    this.#isAgain = true;
    this.#wake();
  }

  /** Shows what is being done. */
  show(activities: Activity[]): void {
    this.#update({ activities });
  }

  async #look(): Promise<void> {
    this.#isLooking = true;
    for (let count = 0; this.#watchers > 0 && !this.#signal.aborted; count++) {
      this.#isAgain = false;
      try {
        const instances = await this.#list<InstanceInfo>("list", ["--details"]);
        this.#update({ instances: this.#shown(instances), fault: undefined });
        await this.#lookAtRuns(instances);
        this.#update({ instances: this.#shown(instances) });
        if (this.#areSnapshotsOld || count % SNAPSHOTS_EACH === 0) {
          this.#areSnapshotsOld = false;
          this.#update({ snapshots: await this.#list<SnapshotInfo>("snapshot ls", ["--all"]) });
        }
      } catch (error) {
        if (!this.#signal.aborted) this.#update({ fault: messageOf(error) });
      }
      if (!this.#isAgain) await this.#pause();
    }
    this.#isLooking = false;
  }

  /** Waits a while, until there is something to look at, or until the end. */
  async #pause(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    await Promise.race([promise, sleep(PAUSE_MS, this.#signal).catch(() => {})]);
  }

  /** Asks for the last run of each instance in which something has changed. */
  async #lookAtRuns(instances: InstanceInfo[]): Promise<void> {
    for (const { instance, state, running, ended, snapshot } of instances) {
      const of = JSON.stringify([state, running?.started, ended, snapshot, this.#done]);
      if (this.#lastRuns.get(instance)?.of === of) continue;
      // A directory may have a name that is no instance's: it has no runs.
      const [run] = await this.#list<RecordedRun>("timeline", ["--instance", instance]).catch(() => []);
      this.#lastRuns.set(instance, { of, run });
    }
  }

  #list<T>(name: string, args: string[]): Promise<T[]> {
    return resultOf<T[]>(this.#ask, { name, args, signal: this.#signal });
  }

  /** The profile's own instance first, also where there is nothing of it yet. */
  #shown(found: InstanceInfo[]): InstanceView[] {
    const { profile, instance } = this.#whose;
    const isOwn = (each: InstanceInfo) => each.instance === instance;
    const own = found.filter(isOwn);
    if (own.length === 0) own.push({ instance, state: "stopped", bytes: 0 });
    return [...own, ...found.filter((each) => !isOwn(each))].map((each) => {
      const lastRun = this.#lastRuns.get(each.instance)?.run;
      const isOther = each.profile !== undefined && each.profile !== profile;
      return {
        ...each,
        ...(lastRun && { lastRun }),
        ...(isOther &&
          { elsewhere: `type 'hotboot ui' with --profile and the profile that is called '${each.profile}'` }),
      };
    });
  }

  #update(change: Partial<View>): void {
    const next = { ...this.view.value, ...change };
    if (JSON.stringify(next) !== JSON.stringify(this.view.value)) this.view.value = next;
  }
}
