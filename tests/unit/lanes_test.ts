import { assertEquals } from "@std/assert";
import { inLanes, type Task } from "../../dev/lanes.ts";

/** Runs tasks that end in the order of their seconds, and returns their begins and ends in order. */
async function log(lanes: number, given: Omit<Task, "run">[]): Promise<string[]> {
  const lines: string[] = [];
  const tasks = given.map((task) => ({
    ...task,
    run: async () => {
      lines.push(`+${task.name}`);
      for (let turn = 0; turn < task.seconds; turn++) await new Promise((resolve) => setTimeout(resolve));
      lines.push(`-${task.name}`);
    },
  }));
  await inLanes(tasks, lanes);
  return lines;
}

Deno.test("lanes: one lane runs the longest task first", async () => {
  const tasks = [{ name: "short", seconds: 1 }, { name: "long", seconds: 3 }, { name: "middle", seconds: 2 }];
  assertEquals(await log(1, tasks), ["+long", "-long", "+middle", "-middle", "+short", "-short"]);
});

Deno.test("lanes: a task that others wait for begins early, and they wait for it", async () => {
  const tasks = [
    { name: "test", seconds: 20, after: ["image", "nowhere"] },
    { name: "image", seconds: 5 },
    { name: "other", seconds: 10 },
    { name: "last", seconds: 1 },
  ];
  const lines = await log(2, tasks);
  assertEquals(lines.slice(0, 4), ["+image", "+other", "-image", "+test"]);
  assertEquals(lines.slice(-1), ["-test"]);
});

Deno.test("lanes: no more tasks run at a time than there are lanes", async () => {
  const tasks = Array.from({ length: 9 }, (_, at) => ({ name: `${at}`, seconds: 1 + at % 3 }));
  let [now, most] = [0, 0];
  for (const line of await log(3, tasks)) most = Math.max(most, now += line.startsWith("+") ? 1 : -1);
  assertEquals([now, most], [0, 3]);
});
