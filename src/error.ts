/**
 * The one error class of Pando. Every failure that a user can cause or cure is a PandoError with a
 * stable `code`; anything else that escapes is a bug.
 */

/** What a PandoError carries beside its message. */
export interface PandoErrorDetail {
  /** What the user can do about it, one sentence. */
  readonly remedy?: string;
  /** The error underneath, when there is one. */
  readonly cause?: unknown;
}

/** An error with a stable code (UPPER_SNAKE, e.g. `ELF_SEGMENT_PAST_EOF`). */
export class PandoError extends Error {
  /** Stable across releases: scripts may match on it. */
  readonly code: string;
  /** What the user can do about it, when something can be done. */
  readonly remedy: string | undefined;

  /**
   * @param code stable identifier in UPPER_SNAKE
   * @param message names the structure, the offset and the limit
   */
  constructor(code: string, message: string, detail: PandoErrorDetail = {}) {
    super(message, detail.cause === undefined ? {} : { cause: detail.cause });
    this.name = 'PandoError';
    this.code = code;
    this.remedy = detail.remedy;
  }

  /** The one line that the command line prints: code, message, remedy. */
  toLine(): string {
    const line = `${this.code}: ${this.message}`;
    return this.remedy === undefined ? line : `${line} (${this.remedy})`;
  }
}

/** Why something failed, in few words: the system's own name of it (ENOSPC, EACCES, …), else the message. */
export function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  return (cause as NodeJS.ErrnoException).code ?? cause.message;
}

/** All that is known of a failure that nobody expected: where it was thrown, too. */
export function traceOf(cause: unknown): string {
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
}
