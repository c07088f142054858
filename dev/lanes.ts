/** Runs tasks in a number of lanes, the longest ones first. */

/** A task. */
export interface Task {
  /** The name by which later tasks refer to it. */
  name: string;
  /** The names of tasks that must end first. Unknown names are ignored. */
  after?: string[];
  /** About how long it takes. */
  seconds: number;
  /** Does the work. */
  run: () => Promise<void>;
}

/** Runs all tasks in this many lanes. The next task is always the one that takes longest, counting its followers. */
export async function inLanes(tasks: Task[], lanes: number): Promise<void> {
  const waiting = new Set(tasks);
  const running = new Map<Task, Promise<Task>>();
  const isOpen = (name: string) => [...waiting, ...running.keys()].some((task) => task.name === name);
  const urgency = (task: Task): number =>
    task.seconds + Math.max(0, ...tasks.filter(({ after }) => after?.includes(task.name)).map(urgency));
  const inOrder = tasks.map((task) => ({ task, urgency: urgency(task) })).sort((a, b) => b.urgency - a.urgency);
  while (waiting.size + running.size > 0) {
    for (const { task } of inOrder) {
      if (running.size === lanes) break;
      if (!waiting.has(task) || task.after?.some(isOpen)) continue;
      waiting.delete(task);
      running.set(task, task.run().then(() => task));
    }
    running.delete(await Promise.race(running.values()));
  }
}
