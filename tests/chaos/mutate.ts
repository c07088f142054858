/** Makes wrong inputs out of right ones. The same seed gives the same input. */

type Next = () => number;

/** Numbers at which programs break. */
const NUMBERS = [
  0,
  1,
  -1,
  0.5,
  127,
  128,
  255,
  256,
  65535,
  65536,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  1e308,
  -(2 ** 31),
];
const TEXTS = [
  "",
  "..",
  "../../x",
  "/etc/passwd",
  "a/b",
  "\0",
  "\u001b[2J",
  "%00",
  "${HOME}",
  "x".repeat(70_000),
  "ü",
  "\ud800",
];
/** The longest input. */
const LONGEST = 4 * 2 ** 20;

/** Changes one to six things in one of the samples. */
export function mutate(samples: Uint8Array[], next: Next): Uint8Array<ArrayBuffer> {
  let bytes = new Uint8Array(pick(samples, next));
  for (let count = 1 + below(6, next); count > 0; count--) bytes = once(bytes, samples, next);
  return bytes.slice(0, LONGEST);
}

/** Of JSON, mostly one to three values, so that the result is JSON still. */
export function mutateJson(samples: Uint8Array[], next: Next): Uint8Array<ArrayBuffer> {
  if (next() < 0.25) return mutate(samples, next);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(pick(samples, next)));
  } catch {
    return mutate(samples, next); // a sample with comments
  }
  for (let count = 1 + below(3, next); count > 0; count--) value = otherValue(value, next);
  return new TextEncoder().encode(JSON.stringify(value) ?? "");
}

function once(bytes: Uint8Array<ArrayBuffer>, samples: Uint8Array[], next: Next): Uint8Array<ArrayBuffer> {
  const at = place(bytes, next);
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  const write = (width: number, put: (at: number) => void) => {
    if (at + width <= copy.length) put(at);
  };
  switch (below(11, next)) {
    case 0:
      write(1, () => copy[at] ^= 1 << below(8, next));
      return copy;
    case 1:
      write(1, () => copy[at] = below(256, next));
      return copy;
    case 2:
      write(2, () => view.setUint16(at, pick(NUMBERS, next), next() < 0.5));
      return copy;
    case 3:
      write(4, () => view.setUint32(at, pick(NUMBERS, next), next() < 0.5));
      return copy;
    case 4:
      write(8, () => view.setBigUint64(at, BigInt(Math.trunc(pick(NUMBERS.slice(0, -3), next))), next() < 0.5));
      return copy;
    case 5:
      return copy.slice(0, at);
    case 6:
      return joined(copy.subarray(0, at), copy.subarray(Math.min(copy.length, at + 1 + below(600, next))));
    case 7:
      return joined(copy.subarray(0, at), copy.subarray(at, at + 1 + below(600, next)), copy.subarray(at));
    case 8:
      copy.fill(pick([0, 255, 32, 48], next), at, at + 1 + below(64, next));
      return copy;
    case 9: {
      const deep = new Uint8Array(10 + below(30_000, next)).fill(pick([91, 123, 48], next)); // "[", "{", "0"
      return next() < 0.2 ? joined(copy.subarray(0, at), deep, copy.subarray(at)) : copy;
    }
    default: {
      const other = pick(samples, next);
      const from = place(other, next);
      return joined(copy.subarray(0, at), other.subarray(from, from + below(5000, next)), copy.subarray(at));
    }
  }
}

/** A value of the same form in which one thing is another. */
function otherValue(value: unknown, next: Next): unknown {
  if (typeof value !== "object" || value === null || next() < 0.08) return odd(value, next);
  if (Array.isArray(value)) {
    const copy = [...value];
    const at = below(copy.length + 1, next);
    const chance = next();
    if (chance < 0.15) copy.splice(at, 1);
    else if (chance < 0.3) copy.push(...copy);
    else copy[at] = otherValue(copy[at], next);
    return copy;
  }
  const copy: Record<string, unknown> = { ...value };
  const names = Object.keys(copy);
  const name = names.length > 0 ? pick(names, next) : "x";
  const chance = next();
  if (chance < 0.1) delete copy[name];
  else if (chance < 0.15) copy[pick(TEXTS, next)] = copy[name];
  else if (chance < 0.2) return JSON.parse(`{"__proto__":${JSON.stringify(copy)},"constructor":1,"length":2}`);
  else copy[name] = otherValue(copy[name], next);
  return copy;
}

function odd(value: unknown, next: Next): unknown {
  const all = [
    null,
    true,
    false,
    [],
    {},
    [[]],
    [null],
    { length: 1 },
    pick(NUMBERS, next),
    pick(TEXTS, next),
    String(value),
    [
      value,
    ],
  ];
  return pick(all, next);
}

/** Headers count more than what is far behind them. */
function place(bytes: Uint8Array, next: Next): number {
  const near = next();
  const reach = near < 0.3 ? 64 : near < 0.6 ? 4096 : bytes.length;
  return below(Math.min(reach, bytes.length) + 1, next);
}

function joined(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function pick<T>(list: readonly T[], next: Next): T {
  return list[below(list.length, next)];
}

function below(limit: number, next: Next): number {
  return Math.floor(next() * limit);
}
