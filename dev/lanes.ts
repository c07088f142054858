/** Work in lanes: so many tasks at a time, and what takes longest is begun first. */

/** A piece of work. */
export interface Task {
  /** What others call it that come after it. */
  name: string;
  /** The names of those that must be done before; one that is not there is not waited for. */
  after?: string[];
  /** About how long it takes. */
  seconds: number;
  /** Does it. */
  run: () => Promise<void>;
}

/** Does all tasks in so many lanes. The next one is always that on which, with all that comes after it, most depends. */
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
