/** @jsxImportSource preact */

/** One instance: what it is, what it has, and the buttons for it. */

import { formatBytes, formatSpan } from "../../base/format.ts";
import type { InstanceView } from "../view.ts";
import { Console } from "./console.tsx";
import { change, page, toggleConsole, toggleSecrets, wish } from "./store.ts";
import { Timeline } from "./timeline.tsx";

/** Commands that continue or end something by itself. */
const UP = ["running", "paused"];

/** A button that keeps the focus when it cannot be used. */
export function Button({ label, of, onClick, why, isDanger, isPressed }: {
  label: string;
  /** What it acts on, for who does not see where it is. */
  of: string;
  onClick: () => void;
  /** Why it cannot be used now. */
  why?: string | false;
  isDanger?: boolean;
  isPressed?: boolean;
}) {
  return (
    <button
      type="button"
      class={isDanger ? "danger" : undefined}
      aria-disabled={Boolean(why)}
      aria-expanded={isPressed}
      title={why || undefined}
      onClick={() => why || onClick()}
    >
      {label}
      <span class="hidden">{of}</span>
    </button>
  );
}

/** How long ago that was. */
export function ago(time: string | undefined): string {
  return `${formatSpan((Date.now() - Date.parse(time ?? "")) / 1000)} ago`;
}

/** An instance. */
export function Instance({ it }: { it: InstanceView }) {
  const { instance, state, why, elsewhere, running, ended, bytes, profile, arch, snapshot, lastRun } = it;
  const isAtWork = page.view!.activities.some((each) => each.instance === instance && each.state === "at work");
  const isUp = UP.includes(state);
  const isSaved = isUp || state === "suspended";
  const not = elsewhere ?? (isAtWork && "something is being done with it");
  const secrets = page.secrets[instance];
  const shown = page.consoles[instance];
  const id = `instance-${instance}`;
  return (
    <article aria-labelledby={id} class="card">
      <header>
        <h3 id={id}>{instance}</h3>
        <span class={`state ${state.replace(" ", "-")}`}>{state}</span>
        <span class="quiet">
          {running ? `${running.origin}, ${ago(running.started)}` : ended ? ago(ended) : ""}
        </span>
      </header>
      {why && <p class="note">{why}</p>}
      {elsewhere && <p class="note">This page does not act on it: {elsewhere}</p>}
      <dl>
        {running && (
          <>
            <dt>Services</dt>
            <dd>
              <Services urls={running.urls} health={running.health ?? {}} />
            </dd>
          </>
        )}
        {running?.memory && (
          <>
            <dt>Memory</dt>
            <dd>{formatBytes(running.memory.own)} own, {formatBytes(running.memory.shared)} shared</dd>
          </>
        )}
        <dt>Disk</dt>
        <dd>{formatBytes(bytes)}</dd>
        {profile && (
          <>
            <dt>Profile</dt>
            <dd>{profile}, {arch}</dd>
          </>
        )}
        {snapshot && (
          <>
            <dt>On top of</dt>
            <dd>
              <code>{snapshot}</code>
            </dd>
          </>
        )}
      </dl>
      <div class="buttons" role="group" aria-label={`What to do with ${instance}`}>
        <Button
          label={state === "running" ? "Suspend" : "Start"}
          of={instance}
          why={not}
          onClick={() =>
            wish(
              state === "running" ? { verb: "stop", instance, how: "suspend" } : { verb: "start", instance },
            )}
        />
        <Button
          label="Shut down"
          of={instance}
          why={not || (!isUp && "it does not run")}
          onClick={() => wish({ verb: "stop", instance, how: "shutdown" })}
        />
        <Button
          label="Fork…"
          of={instance}
          why={not || (!isSaved && "it neither runs nor is suspended")}
          onClick={() => change({ question: { kind: "fork", source: instance } })}
        />
        <Button
          label="Save…"
          of={instance}
          why={not || (!isSaved && "it neither runs nor is suspended")}
          onClick={() => change({ question: { kind: "save", instance } })}
        />
        <Button
          label={shown ? "Hide console" : "Console"}
          of={instance}
          isPressed={Boolean(shown)}
          onClick={() => toggleConsole(instance)}
        />
        <Button
          label={secrets ? "Hide secrets" : "Secrets"}
          of={instance}
          isPressed={Boolean(secrets)}
          why={!secrets && (elsewhere ?? (state === "stopped" && "it has none"))}
          onClick={() => toggleSecrets(instance)}
        />
        <Button
          label="Reset…"
          of={instance}
          isDanger
          why={not || (state === "stopped" && bytes === 0 && "there is nothing of it")}
          onClick={() => change({ question: { kind: "reset", instance } })}
        />
      </div>
      {secrets && (
        <section aria-label={`Secrets of ${instance}`}>
          <dl>
            {Object.entries(secrets).map(([name, value]) => (
              <>
                <dt>{name}</dt>
                <dd>
                  <code>{value}</code>
                </dd>
              </>
            ))}
          </dl>
        </section>
      )}
      {lastRun && <Timeline {...lastRun} of={instance} />}
      {shown && <Console of={instance} {...shown} />}
    </article>
  );
}

function Services({ urls, health }: { urls: Record<string, string>; health: Record<string, boolean> }) {
  return (
    <ul class="services">
      {Object.entries(urls).map(([name, url]) => (
        <li key={name}>
          {name}{" "}
          {/^https?:/.test(url)
            ? <a href={url} target="_blank" rel="noopener noreferrer">{url}</a>
            : <code>{url}</code>}
        </li>
      ))}
      {Object.entries(health).map(([name, isHealthy]) => (
        <li key={`check ${name}`} class={isHealthy ? "healthy" : "unhealthy"}>
          {name}: {isHealthy ? "healthy" : "not healthy"}
        </li>
      ))}
    </ul>
  );
}
