/** A guest's console as a bench uses it: waits for texts, and keeps the last of what was printed. */
import type { Vm } from '#dist/vm/vm.js';

const KEPT = 1 << 16;

export class GuestConsole {
  #text = '';
  #changed: () => void = () => {};
  #ended = '';

  constructor(private readonly vm: Vm) {
    vm.onConsole((bytes) => {
      this.#text = (this.#text + Buffer.from(bytes).toString('latin1')).slice(-KEPT);
      this.#changed();
    });
    void vm.exited.then((exit) => {
      this.#ended = exit.kind === 'error' ? `${exit.code}: ${exit.message}` : exit.kind;
      this.#changed();
    });
  }

  type(text: string): void {
    this.vm.writeConsole(Buffer.from(text, 'latin1'));
  }

  /** Waits for a text beyond what was waited for before; gives the match. */
  async expect(pattern: RegExp, seconds: number): Promise<RegExpExecArray> {
    const deadline = performance.now() + seconds * 1000;
    for (;;) {
      const match = pattern.exec(this.#text);
      if (match) {
        this.#text = this.#text.slice(match.index + match[0].length);
        return match;
      }
      const left = deadline - performance.now();
      if (this.#ended !== '' || left <= 0) {
        const why = this.#ended === '' ? `not within ${seconds} s` : `the VM ended: ${this.#ended}`;
        throw new Error(`console: expected ${pattern}, ${why}; last:\n${this.#text.slice(-800)}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#changed = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}
