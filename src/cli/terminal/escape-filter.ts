/** The console's escape key: Ctrl-A, as terminal programs on serial lines have it. */

const CTRL_A = 1;

/** What the escape key is followed by. */
export type ConsoleCommand = 'quit' | 'help';

/** What a user is told before the terminal becomes the guest's console. */
export const CONSOLE_HINT = 'Ctrl-A X ends the VM and leaves, Ctrl-A H shows help\n';

/** What to show when help is asked for; lines end as a raw terminal needs it. */
export const CONSOLE_HELP = [
  '',
  'Ctrl-A X       end the VM and leave',
  'Ctrl-A H       this help',
  'Ctrl-A Ctrl-A  send Ctrl-A to the guest',
  '',
].join('\r\n');

const COMMANDS: Readonly<Record<string, ConsoleCommand>> = {
  x: 'quit',
  X: 'quit',
  h: 'help',
  H: 'help',
  '?': 'help',
};

/** Separates what the guest gets from what is meant for Pando. */
export class EscapeFilter {
  private escaped = false;

  constructor(
    private readonly forward: (bytes: Uint8Array) => void,
    private readonly command: (command: ConsoleCommand) => void,
  ) {}

  /** Takes what was typed, in whatever pieces. Ctrl-A and a key of no meaning go nowhere. */
  feed(bytes: Uint8Array): void {
    const plain: number[] = [];
    const flush = (): void => {
      if (plain.length > 0) this.forward(Uint8Array.from(plain.splice(0)));
    };
    for (const byte of bytes) {
      if (!this.escaped) {
        if (byte === CTRL_A) this.escaped = true;
        else plain.push(byte);
        continue;
      }
      this.escaped = false;
      const command = COMMANDS[String.fromCharCode(byte)];
      if (byte === CTRL_A) plain.push(byte);
      else if (command !== undefined) {
        flush();
        this.command(command);
      }
    }
    flush();
  }
}
