import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { toText } from "@std/streams/to-text";
import { GuestAgent } from "../../lib/vm/guest_agent.ts";
import { QmpClient } from "../../lib/vm/qmp.ts";
import { sleep } from "../../lib/base/wait.ts";
import { GuestHome } from "./harness.ts";

Deno.test("a file written after boot and before capture is on the resumed disk, read with a cold page cache", async () => {
  // The capture waits for a page that the test makes when it has written its file.
  await using micro = await GuestHome.make({ checks: [{ name: "ready", path: "/ready" }] });
  const capture = micro.spawn("capture");
  const output = Promise.all([toText(capture.stdout), toText(capture.stderr)]);
  while (!await micro.health().then(() => true, () => false)) await sleep(50);

  const content = new Uint8Array(3 << 20);
  for (let at = 0; at < content.length; at += 65536) crypto.getRandomValues(content.subarray(at, at + 65536));
  {
    await using agent = await GuestAgent.connect(micro.socket("agent"));
    await agent.writeFile("/data/written", content);
    // On disk, and out of memory.
    // Meanwhile others are told how it is, and do not wait for the monitor.
    assertEquals(JSON.parse(await micro.succeed("status", ["--json"])).state, "starting");
    assertMatch((await micro.run("exec", ["--", "true"])).stderr, /is still being started/);
    await agent.exec({ path: "/bin/sh", args: ["-c", "sync; echo 3 >/proc/sys/vm/drop_caches; echo yes >/www/ready"] });
  }
  assertEquals((await capture.status).code, 0, (await output).join());

  await micro.start("--no-fallback");
  await micro.exec("sh", "-c", "echo 3 >/proc/sys/vm/drop_caches");
  const digest = (await micro.exec("sha256sum", "/data/written")).split(" ")[0];
  const expected = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  assertEquals(digest, Array.from(expected, (byte) => byte.toString(16).padStart(2, "0")).join(""));
  assertEquals(await micro.exec("cat", "/www/ready"), "yes\n"); // which was in memory only
  // And the filesystem, which both halves describe, is sound.
  const checked = await micro.exec(
    "sh",
    "-c",
    "umount /data && mount -t ext4 /dev/vda /data && ls /data; dmesg | grep -i 'ext4.*error' || true",
  );
  assertEquals(checked, "lost+found\nwritten\n");
});

Deno.test("a resumed guest has the host's time and a new generation id", async () => {
  await using micro = await GuestHome.make();
  const generation = async () => {
    await using qmp = await QmpClient.connect(micro.socket("monitor"));
    return (await qmp.execute<{ guid: string }>("query-vm-generation-id")).guid;
  };
  await micro.start();
  const first = await generation();
  await sleep(5000); // by so much its clock would be late
  await micro.succeed("stop", ["--discard"]);

  assertEquals((await micro.start("--no-fallback")).origin, "resume");
  const before = Date.now();
  const { time } = await micro.health();
  const after = Date.now();
  assert(time * 1000 > before - 1000 && time * 1000 < after + 1000, `${time * 1000} is not about ${before}`);
  assertNotEquals(await generation(), first);
});
