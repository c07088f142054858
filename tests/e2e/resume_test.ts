// needs: micro

import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { readManifest } from "../../lib/snapshot/manifest.ts";
import { toText } from "@std/streams/to-text";
import { GuestAgent } from "../../lib/vm/guest_agent.ts";
import { QmpClient } from "../../lib/vm/qmp.ts";
import { GuestHome } from "./guest_home.ts";
import { until } from "./pace.ts";

Deno.test("a file written between boot and capture is on the resumed disk, even with a cold page cache", async () => {
  // The capture waits for a page that the test makes after it has written its file.
  await using micro = await GuestHome.make({ checks: [{ name: "ready", path: "/ready" }] });
  const capture = micro.spawn("capture");
  const output = Promise.all([toText(capture.stdout), toText(capture.stderr)]);
  await until(() => micro.health().then(() => true, () => false), "the guest's health");

  const content = new Uint8Array(3 << 20);
  for (let at = 0; at < content.length; at += 65536) crypto.getRandomValues(content.subarray(at, at + 65536));
  {
    await using agent = await GuestAgent.connect(micro.socket("agent"));
    await agent.writeFile("/data/written", content);
    // The file is on disk, and not in memory.
    // Meanwhile other commands see its state, without waiting for the monitor.
    assertEquals((await micro.status()).state, "starting");
    assertMatch((await micro.run("exec", ["--", "true"])).stderr, /is still starting/);
    await agent.exec({ path: "/bin/sh", args: ["-c", "sync; echo 3 >/proc/sys/vm/drop_caches; echo yes >/www/ready"] });
  }
  assertEquals((await capture.status).code, 0, (await output).join());

  await micro.start("--no-fallback");
  await micro.exec("sh", "-c", "echo 3 >/proc/sys/vm/drop_caches");
  const digest = (await micro.exec("sha256sum", "/data/written")).split(" ")[0];
  const expected = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  assertEquals(digest, Array.from(expected, (byte) => byte.toString(16).padStart(2, "0")).join(""));
  assertEquals(await micro.exec("cat", "/www/ready"), "yes\n"); // this was only in memory
  // The file system, which memory and disk both describe, is sound.
  const checked = await micro.exec(
    "sh",
    "-c",
    "umount /data && mount -t ext4 /dev/vda /data && ls /data; dmesg | grep -i 'ext4.*error' || true",
  );
  assertEquals(checked, "lost+found\nwritten\n");
});

Deno.test("a resumed guest has the host's time and a new generation id", async () => {
  await using micro = await GuestHome.started();
  const generation = async () => {
    await using qmp = await QmpClient.connect(micro.socket("monitor"));
    return (await qmp.execute<{ guid: string }>("query-vm-generation-id")).guid;
  };
  const first = await generation();
  await micro.succeed("stop", ["--discard"]);

  const { guest: { stoppedAt } } = await readManifest(await micro.snapshot());
  await until(() => Date.now() > stoppedAt + 5000, "a time after the capture by which its clock would be late");
  assertEquals((await micro.start("--no-fallback")).origin, "resume");
  await micro.assertOnTime();
  assertNotEquals(await generation(), first);
});
