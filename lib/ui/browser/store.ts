/** What the page knows, and how it asks for things. */

import type { View, Wish } from "../view.ts";

/** A question that is open. */
export type Question =
  | { kind: "fork"; source: string }
  | { kind: "save"; instance: string }
  | { kind: "reset"; instance: string };

/** A console that is shown. */
export interface Console {
  source: EventSource;
  text: string;
  fault?: string;
}

/** Everything that the page knows. */
export interface Page {
  view?: View;
  isConnected: boolean;
  question?: Question;
  /** The last thing that could not be asked for, and why. */
  fault?: string;
  /** Secrets that are shown, by instance. */
  secrets: Record<string, Record<string, string>>;
  /** Consoles that are shown, by instance. */
  consoles: Record<string, Console>;
  /** What a screen reader is to say. */
  news: string;
}

/** It. */
export const page: Page = { isConnected: false, secrets: {}, consoles: {}, news: "" };

let draw = () => {};

/** Draws the page whenever something has changed. */
export function onChange(render: () => void): void {
  draw = render;
}

/** Changes something. */
export function change(changes: Partial<Page>): void {
  Object.assign(page, changes);
  draw();
}

/** Sends something, and gives the answer; `undefined` if it failed, which the page shows. */
async function post<T>(path: string, body: unknown): Promise<T | undefined> {
  const headers = { "content-type": "application/json" };
  try {
    const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
    const isJson = response.headers.get("content-type") === "application/json";
    const { error, ...answer } = isJson ? await response.json() : { error: await response.text() };
    change({ fault: error });
    if (error === undefined) return answer as T;
  } catch {
    change({ fault: "hotboot did not answer: see whether 'hotboot ui' still runs" });
  }
}

/** Asks for something. */
export function wish(wish: Wish): void {
  void post("wishes", wish);
}

/** Interrupts something. */
export function interrupt(id: number): void {
  void post("interrupt", { id });
}

/** Shows an instance's secrets, or hides them. */
export async function toggleSecrets(instance: string): Promise<void> {
  const { [instance]: shown, ...secrets } = page.secrets;
  if (shown) return change({ secrets });
  const answer = await post<{ secrets: Record<string, string> }>("secrets", { instance });
  if (answer) change({ secrets: { ...page.secrets, [instance]: answer.secrets } });
}

/** Shows an instance's console, or hides it. */
export function toggleConsole(instance: string): void {
  const { [instance]: shown, ...consoles } = page.consoles;
  shown?.source.close();
  if (shown) return change({ consoles });
  const source = new EventSource(`console?instance=${encodeURIComponent(instance)}`);
  change({ consoles: { ...consoles, [instance]: { source, text: "" } } });
  source.onmessage = ({ data }) => {
    if (page.consoles[instance]?.source !== source) return;
    change({ consoles: { ...page.consoles, [instance]: { source, ...JSON.parse(data) } } });
  };
}

/** Follows what there is, while the page can be seen. */
export function follow(): void {
  let source: EventSource | undefined;
  const begin = () => {
    source = new EventSource("events");
    source.onmessage = ({ data }) => receive(JSON.parse(data));
    source.onerror = () => change({ isConnected: false });
  };
  document.addEventListener("visibilitychange", () => {
    source?.close();
    if (!document.hidden) begin();
  });
  begin();
}

function receive(view: View): void {
  const before = new Map(page.view?.instances.map(({ instance, state }) => [instance, state]));
  const news = view.instances.flatMap(({ instance, state }) =>
    page.view && before.get(instance) !== state ? [`${instance} is ${state}.`] : []
  );
  const ended = view.activities.filter(({ id, state }) =>
    state !== "at work" && page.view?.activities.some((each) => each.id === id && each.state === "at work")
  );
  for (const { what, state, text } of ended) news.push(`${what}: ${state}. ${text}`);
  // What was shown of an instance that has changed is no longer true.
  const isSame = ([instance]: [string, unknown]) =>
    view.instances.some((each) => each.instance === instance && each.state === (before.get(instance) ?? each.state));
  const secrets = Object.fromEntries(Object.entries(page.secrets).filter(isSame));
  change({ view, isConnected: true, secrets, ...(news.length > 0 && { news: news.join(" ") }) });
  for (const [instance, { fault }] of Object.entries(page.consoles)) {
    const isThere = view.instances.some((each) => each.instance === instance);
    const isNew = before.get(instance) !== view.instances.find((each) => each.instance === instance)?.state;
    if (!isThere || (fault !== undefined && isNew)) toggleConsole(instance);
    if (isThere && fault !== undefined && isNew) toggleConsole(instance); // again: it may have one now
  }
}
