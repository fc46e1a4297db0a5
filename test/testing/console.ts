/**
 * A VM's serial console as a test uses it: wait for what the guest prints, type, run a command and
 * get its output. Every wait has a limit, and a failure shows the console's last lines.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Vm } from 'pando';

/** How long a guest may take before the test is given up: generous, for machines that are busy. */
const PATIENCE = 300_000;
const LINES_SHOWN = 30;

const ESCAPE = '\x1b';
/**
 * The prompt of the image's shell (src/image/init-script.ts); busybox asks for the cursor after it. Behind it the kernel
 * may have said something.
 */
const PROMPT = new RegExp(`\\S* # (?:${ESCAPE}\\[6n)?(?:\\[ *\\d+\\.\\d{6}\\] [^\\n]*\\n?)*$`);

export class Console {
  /** All that the guest has printed. */
  text = '';
  /** Where the part that no `expect` has taken begins. */
  #at = 0;
  #ended = '';
  #marks = 0;
  #changed: () => void = () => {};
  readonly #decoder = new TextDecoder('latin1');

  constructor(private readonly vm: Pick<Vm, 'onConsole' | 'writeConsole' | 'exited'>) {
    vm.onConsole((bytes) => {
      this.text += this.#decoder.decode(bytes, { stream: true });
      this.#changed();
    });
    vm.exited.then((exit) => {
      this.#ended = JSON.stringify(exit, (_key, value) =>
        typeof value === 'bigint' ? `0x${value.toString(16)}` : value,
      );
      this.#changed();
    });
  }

  /** Types a text. */
  send(text: string): void {
    this.vm.writeConsole(Buffer.from(text, 'latin1'));
  }

  /**
   * Waits until the guest has printed a text beyond what earlier calls took.
   * @returns what matched, with the groups of a regular expression
   * @throws Error when the time is over or the VM ends
   */
  async expect(wanted: string | RegExp, patience = PATIENCE): Promise<RegExpExecArray> {
    const pattern =
      typeof wanted === 'string'
        ? new RegExp(wanted.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'))
        : wanted;
    const deadline = new AbortController();
    const limit = sleep(patience, 'late' as const, { signal: deadline.signal });
    try {
      for (;;) {
        const match = pattern.exec(this.text.slice(this.#at));
        if (match !== null) {
          this.#at += match.index + match[0].length;
          return match;
        }
        if (this.#ended !== '') throw this.#failure(wanted, `the VM ended: ${this.#ended}`);
        const change = new Promise<'changed'>((resolve) => {
          this.#changed = () => resolve('changed');
        });
        if ((await Promise.race([change, limit])) === 'late') {
          throw this.#failure(wanted, `not within ${patience / 1000} s`);
        }
      }
    } finally {
      deadline.abort();
      limit.catch(() => undefined);
    }
  }

  #failure(wanted: string | RegExp, why: string): Error {
    const lines = this.text.slice(-20_000).split('\n').slice(-LINES_SHOWN).join('\n');
    return new Error(`console: expected ${wanted}, ${why}; its last lines:\n${lines}`);
  }

  /** Waits for the shell's prompt. */
  async prompt(patience = PATIENCE): Promise<void> {
    await this.expect(PROMPT, patience);
  }

  /**
   * Runs a line of shell.
   * @returns what it printed, lines ending in \n
   * @throws Error when its status is not `status`
   */
  async run(command: string, { status = 0, patience = PATIENCE } = {}): Promise<string> {
    const mark = ++this.#marks;
    // The quotes keep the echo of the line from looking like what the line prints.
    this.send(`echo "<""${mark}>"; ${command}; echo "<""/${mark} $?>"\n`);
    await this.expect(`<${mark}>\r\n`, patience);
    const from = this.#at;
    const end = await this.expect(new RegExp(`</${mark} (\\d+)>\r\n`), patience);
    const output = this.text.slice(from, this.#at - end[0].length).replaceAll('\r\n', '\n');
    if (Number(end[1]) !== status) {
      throw new Error(`console: \`${command}\` ended with ${end[1]}, not ${status}:\n${output}`);
    }
    await this.prompt(patience);
    return output;
  }
}
