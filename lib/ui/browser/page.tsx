/** @jsxImportSource preact */

/** The page. */

import { render } from "preact";
import type { Activity } from "../view.ts";
import { Instance } from "./instance.tsx";
import { QuestionDialog } from "./question.tsx";
import { change, follow, interrupt, onChange, page } from "./store.ts";
import { Tree } from "./tree.tsx";

function App() {
  const { view, isConnected, fault, question, news } = page;
  return (
    <>
      <header class="top">
        <h1>hotboot</h1>
        {view && (
          <p class="quiet">
            profile {view.profile}, home <code>{view.home}</code>
          </p>
        )}
      </header>
      <p class="hidden" role="status">{news}</p>
      <div role="alert">
        {view && !isConnected && <p class="fault">Not connected: see whether 'hotboot ui' still runs.</p>}
        {view?.fault && <p class="fault">{view.fault}</p>}
        {fault && (
          <p class="fault">
            {fault}
            <button type="button" onClick={() => change({ fault: undefined })}>Close</button>
          </p>
        )}
      </div>
      <main>
        {view && view.activities.length > 0 && (
          <section aria-labelledby="activities">
            <h2 id="activities">Activities</h2>
            <ul class="activities">{view.activities.map((each) => <Doing key={each.id} it={each} />)}</ul>
          </section>
        )}
        <section aria-labelledby="instances">
          <h2 id="instances" tabIndex={-1}>Instances</h2>
          {view && view.instances.length > 0
            ? view.instances.map((each) => <Instance key={each.instance} it={each} />)
            : <p class="quiet">Looking…</p>}
        </section>
        <section aria-labelledby="snapshots">
          <h2 id="snapshots">Snapshots and checkpoints</h2>
          {view && <Tree view={view} />}
        </section>
      </main>
      {question && <QuestionDialog question={question} />}
    </>
  );
}

function Doing({ it: { id, what, state, text } }: { it: Activity }) {
  return (
    <li class={state.replace(" ", "-")}>
      <strong>{what}</strong>
      <span class="state">{state}</span>
      {text && <span class="text">{text}</span>}
      {state === "at work" && (
        <button type="button" onClick={() => interrupt(id)}>
          Interrupt<span class="hidden">{what}</span>
        </button>
      )}
    </li>
  );
}

/** If what had the focus is gone, it goes to the instances, and not to the page's beginning. */
let focused: Element | null = null;

onChange(() => {
  render(<App />, document.getElementById("page")!);
  const now = document.activeElement;
  if (now === document.body && focused && !focused.isConnected && !page.question) {
    document.getElementById("instances")?.focus();
  }
  focused = document.activeElement === document.body ? null : document.activeElement;
});
document.addEventListener("focusin", ({ target }) => focused = target as Element);
change({});
follow();
