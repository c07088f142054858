/** What `exec` is to run, and how. */

/** The size of a terminal, in characters. */
export interface TerminalSize {
  /** Characters in a row. */
  columns: number;
  /** Rows. */
  rows: number;
}

/** A terminal in the guest. */
export interface ExecTerminal {
  /** Its size at first. */
  size: TerminalSize;
  /** Its later sizes. */
  resizes?: ReadableStream<TerminalSize>;
  /** What it can do: the guest's `TERM`, `xterm` by default. */
  type?: string;
}

/** A program to run, and where its output goes. */
export interface ExecOptions {
  /** The program and its arguments. */
  command: string[];
  /** Its standard input, as it comes; empty if absent. */
  input?: ReadableStream<Uint8Array>;
  /** Gets standard output as it arrives. */
  stdout?: (bytes: Uint8Array) => Promise<void> | void;
  /** Gets standard error as it arrives. With a terminal it is part of standard output. */
  stderr?: (bytes: Uint8Array) => Promise<void> | void;
  /** Variables, beside those that the guest's agent has. */
  env?: Record<string, string>;
  /** The directory in the guest to run it in. */
  workdir?: string;
  /** The user in the guest to run it as, by name; root by default. */
  user?: string;
  /** Gives it a terminal of its own; the keys typed are the input. */
  terminal?: ExecTerminal;
}
