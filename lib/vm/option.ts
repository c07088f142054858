/** QEMU's option syntax. */

/** Names and values as one QEMU option; a comma in a value is doubled, which is QEMU's escape. */
export function option(head: string, values: Record<string, string | number | undefined>): string {
  const rest = Object.entries(values).filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${String(value).replaceAll(",", ",,")}`);
  return [head, ...rest].filter((part) => part !== "").join(",");
}
