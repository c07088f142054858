/** Gives `count` ports of 127.0.0.1 that nothing listens on right now. */
export function freePorts(count: number): number[] {
  const held = Array.from({ length: count }, () => Deno.listen({ hostname: "127.0.0.1", port: 0 }));
  for (const listener of held) listener.close();
  return held.map(({ addr }) => addr.port);
}
