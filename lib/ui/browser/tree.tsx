/** @jsxImportSource preact */

/** Snapshots, what was saved on top of them, and the instances on top of both. */

import { formatBytes } from "../../base/format.ts";
import type { SnapshotInfo } from "../../emulator/snapshots.ts";
import type { InstanceView, View } from "../view.ts";
import { ago, Button } from "./instance.tsx";
import { change } from "./store.ts";

/** The whole tree. */
export function Tree({ view }: { view: View }) {
  const { snapshots, instances } = view;
  const ids = new Set(snapshots.map(({ id }) => id));
  const roots = snapshots.filter(({ base }) => base === undefined || !ids.has(base));
  if (roots.length === 0) return <p class="quiet">There are none yet. The first start captures a snapshot.</p>;
  return (
    <ul class="tree">
      {roots.map((each) => <Branch key={each.id} it={each} view={view} instances={instances} />)}
    </ul>
  );
}

function Branch({ it, view, instances }: { it: SnapshotInfo; view: View; instances: InstanceView[] }) {
  const { id, kind, name, profile, arch, created, bytes, state, why } = it;
  const above = view.snapshots.filter(({ base }) => base === id);
  const users = instances.filter(({ snapshot }) => snapshot === id);
  return (
    <li>
      <div class="leaf">
        <strong>{name ?? kind}</strong> <code>{id}</code>
        <span class="quiet">{profile} {arch}, {ago(created)}, {formatBytes(bytes)}</span>
        {state !== "usable" && <span class="note">{state}: {why}</span>}
        {kind === "checkpoint" && profile === view.profile && (
          <Button
            label="Fork…"
            of={name ?? id}
            onClick={() => change({ question: { kind: "fork", source: name ?? id } })}
          />
        )}
      </div>
      {above.length + users.length > 0 && (
        <ul>
          {above.map((each) => <Branch key={each.id} it={each} view={view} instances={instances} />)}
          {users.map(({ instance, state }) => (
            <li key={`instance ${instance}`}>
              <div class="leaf">
                <a href={`#instance-${instance}`}>{instance}</a>
                <span class={`state ${state.replace(" ", "-")}`}>{state}</span>
              </div>
            </li>
          ))}
        </ul>
      )}
    </li>
  );
}
