/**
 * The checksum of a frame's content, for an engine that neither makes nor tells it: XXH64 of seed 0, of which the low half is stored.
 *
 * JavaScript has no fast 64-bit arithmetic, so the loop is a WebAssembly function; it is put together here, byte by
 * byte, as it is short.
 *
 * Source: RFC 8878, 3.1.1; the xxHash specification, version 0.1.1, "XXH64 algorithm description".
 */

const P1 = 0x9e3779b185ebca87n;
const P2 = 0xc2b2ae3d27d4eb4fn;
const P3 = 0x165667b19e3779f9n;
const P4 = 0x85ebca77c2b2ae63n;
const P5 = 0x27d4eb2f165667c5n;

const STRIPE = 32;
const PAGE = 65536;
/** What is copied into the function's memory at once. */
const PIECE = 16 * PAGE;
/** Where the four accumulators are in it: behind the piece. */
const STATE = PIECE;

/** The low 32 bits of the content's checksum. */
export function contentChecksum(bytes: Uint8Array): number {
  const checksum = new ContentChecksum();
  checksum.add(bytes);
  return checksum.value();
}

/** The checksum of content that comes in pieces. */
export class ContentChecksum {
  #lanes = BigUint64Array.of(wrap(P1 + P2), P2, 0n, wrap(-P1));
  /** What has come after the last whole stripe. */
  #rest = new Uint8Array(STRIPE);
  #restLength = 0;
  #length = 0;

  /** Takes the next bytes. */
  add(bytes: Uint8Array): void {
    this.#length += bytes.length;
    let at = 0;
    if (this.#restLength > 0) {
      at = Math.min(bytes.length, STRIPE - this.#restLength);
      this.#rest.set(bytes.subarray(0, at), this.#restLength);
      this.#restLength += at;
      if (this.#restLength < STRIPE) return;
      this.#takeStripes(this.#rest);
    }
    const end = bytes.length - (bytes.length - at) % STRIPE;
    for (; at < end; at += PIECE) this.#takeStripes(bytes.subarray(at, Math.min(end, at + PIECE)));
    this.#rest.set(bytes.subarray(end));
    this.#restLength = bytes.length - end;
  }

  #takeStripes(piece: Uint8Array): void {
    const { stripes, memory } = loop();
    const state = new BigUint64Array(memory.buffer, STATE, 4);
    state.set(this.#lanes);
    new Uint8Array(memory.buffer).set(piece);
    stripes(piece.length);
    this.#lanes.set(state);
  }

  /** The low 32 bits of the checksum of all that was taken. */
  value(): number {
    let hash = P5;
    if (this.#length >= STRIPE) {
      const [a, b, c, d] = this.#lanes;
      hash = wrap(rotate(a, 1n) + rotate(b, 7n) + rotate(c, 12n) + rotate(d, 18n));
      for (const lane of [a, b, c, d]) hash = wrap((hash ^ round(0n, lane)) * P1 + P4);
    }
    hash = wrap(hash + BigInt(this.#length));
    return Number(avalanche(addRest(hash, this.#rest.subarray(0, this.#restLength))) & 0xffffffffn);
  }
}

/** Steps 4 and 5: what is left after the stripes. */
function addRest(hash: bigint, rest: Uint8Array): bigint {
  const view = new DataView(rest.buffer, rest.byteOffset, rest.length);
  let at = 0;
  for (; at + 8 <= rest.length; at += 8) {
    hash = wrap(rotate(hash ^ round(0n, view.getBigUint64(at, true)), 27n) * P1 + P4);
  }
  for (; at + 4 <= rest.length; at += 4) {
    hash = wrap(rotate(hash ^ wrap(BigInt(view.getUint32(at, true)) * P1), 23n) * P2 + P3);
  }
  for (; at < rest.length; at++) hash = wrap(rotate(hash ^ wrap(BigInt(rest[at]) * P5), 11n) * P1);
  return hash;
}

/** Step 6. */
function avalanche(hash: bigint): bigint {
  hash = wrap((hash ^ (hash >> 33n)) * P2);
  hash = wrap((hash ^ (hash >> 29n)) * P3);
  return hash ^ (hash >> 32n);
}

function round(lane: bigint, input: bigint): bigint {
  return wrap(rotate(wrap(lane + input * P2), 31n) * P1);
}

function rotate(value: bigint, by: bigint): bigint {
  return wrap(value << by) | (value >> (64n - by));
}

function wrap(value: bigint): bigint {
  return BigInt.asUintN(64, value);
}

interface Loop {
  /** Takes in so many bytes from the memory's start, a multiple of the stripe. */
  stripes(length: number): void;
  memory: WebAssembly.Memory;
}

let instance: Loop | undefined;

function loop(): Loop {
  instance ??= new WebAssembly.Instance(new WebAssembly.Module(assemble())).exports as unknown as Loop;
  return instance;
}

/** A number as WebAssembly has it: LEB128, signed. */
function leb(value: bigint): number[] {
  const byte = Number(BigInt.asUintN(7, value));
  const rest = value >> 7n;
  const isEnd = (rest === 0n && byte < 0x40) || (rest === -1n && byte >= 0x40);
  return isEnd ? [byte] : [byte | 0x80, ...leb(rest)];
}

/** A length or an index, unsigned. */
function unsigned(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

const sized = (bytes: number[]) => [...unsigned(bytes.length), ...bytes];
const section = (id: number, bytes: number[]) => [id, ...sized(bytes)];
const text = (name: string) => sized([...new TextEncoder().encode(name)]);

/** The module: one memory and one function, whose locals are the length (0), the place (1) and the four lanes (2 to 5). */
function assemble(): Uint8Array<ArrayBuffer> {
  const [I32, I64] = [0x7f, 0x7e];
  const get = (local: number) => [0x20, local];
  const set = (local: number) => [0x21, local];
  const i32 = (value: number) => [0x41, ...leb(BigInt(value))];
  const i64 = (value: bigint) => [0x42, ...leb(BigInt.asIntN(64, value))];
  const load = (offset: number) => [0x29, 3, ...unsigned(offset)];
  const store = (offset: number) => [0x37, 3, ...unsigned(offset)];
  const [add64, multiply64, rotateLeft64, add32, less32] = [0x7c, 0x7e, 0x89, 0x6a, 0x49];
  const lanes = [0, 1, 2, 3];
  const body = [
    ...lanes.flatMap((lane) => [...i32(STATE), ...load(8 * lane), ...set(2 + lane)]),
    ...[0x03, 0x40], // loop
    ...lanes.flatMap((lane) => [
      ...[...get(2 + lane), ...get(1), ...load(8 * lane), ...i64(P2), multiply64, add64],
      ...[...i64(31n), rotateLeft64, ...i64(P1), multiply64, ...set(2 + lane)],
    ]),
    ...[...get(1), ...i32(STRIPE), add32, 0x22, 1, ...get(0), less32, 0x0d, 0], // on while the place is below the length
    0x0b,
    ...lanes.flatMap((lane) => [...i32(STATE), ...get(2 + lane), ...store(8 * lane)]),
    0x0b,
  ];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 1, I32, 0]),
    ...section(3, [1, 0]),
    ...section(5, [1, 0, PIECE / PAGE + 1]),
    ...section(7, [2, ...text("memory"), 2, 0, ...text("stripes"), 0, 0]),
    ...section(10, [1, ...sized([2, 1, I32, 4, I64, ...body])]),
  ]);
}
