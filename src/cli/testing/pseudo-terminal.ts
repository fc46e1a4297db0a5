/**
 * A pseudo terminal with a program on it: pty(7), pts(4), ioctl_tty(2). Reads and writes the master
 * without blocking, so that a test may wait for a text.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { ioctlBytes } from '../../host/ioctl.js';

const TCGETS = 0x5401;
const TCSETS = 0x5402;
const TIOCSWINSZ = 0x5414;
const TIOCGPTN = 0x80045430;
const TIOCSPTLCK = 0x40045431;
/** struct termios of the kernel; c_lflag is its fourth word (termbits.h). */
const TERMIOS_BYTES = 36;
const LOCAL_FLAGS = 12;
const ISIG = 1;
const ICANON = 2;
const ECHO = 8;
const COOKED = ISIG | ICANON | ECHO;

const LIMIT_MS = 300_000;

export class PseudoTerminal {
  /** What the program has printed. */
  text = '';
  private readonly master: number;
  private readonly slavePath: string;
  private open = true;

  constructor(rows = 24, columns = 80) {
    const { O_RDWR, O_NOCTTY, O_NONBLOCK } = constants;
    this.master = openSync('/dev/ptmx', O_RDWR | O_NOCTTY | O_NONBLOCK);
    const number = new Uint8Array(4);
    ioctlBytes(this.master, TIOCSPTLCK, number);
    ioctlBytes(this.master, TIOCGPTN, number);
    this.slavePath = `/dev/pts/${new DataView(number.buffer).getUint32(0, true)}`;
    ioctlBytes(this.master, TIOCSWINSZ, new Uint8Array(Uint16Array.of(rows, columns, 0, 0).buffer));
  }

  /** Starts a program in a session of its own whose terminal this is (setsid(1)). */
  start(command: string, words: readonly string[], env = process.env): ChildProcess {
    const slave = openSync(this.slavePath, constants.O_RDWR | constants.O_NOCTTY);
    const child = spawn('setsid', ['--ctty', command, ...words], {
      stdio: [slave, slave, slave],
      env,
    });
    closeSync(slave);
    return child;
  }

  type(text: string): void {
    writeSync(this.master, text);
  }

  /** Waits until the program has printed a text, and takes what it prints. */
  async until(text: string): Promise<void> {
    const end = Date.now() + LIMIT_MS;
    for (this.read(); !this.text.includes(text); this.read()) {
      if (Date.now() > end) throw new Error(`no ${JSON.stringify(text)} in:\n${this.text}`);
      await sleep(5);
    }
  }

  /** Whether keys reach the program as they are typed. */
  get raw(): boolean {
    return (this.termios().getUint32(LOCAL_FLAGS, true) & COOKED) === 0;
  }

  /** Sets the mode of a shell, as a shell does when its job has stopped. */
  cook(): void {
    const termios = this.termios();
    termios.setUint32(LOCAL_FLAGS, termios.getUint32(LOCAL_FLAGS, true) | COOKED, true);
    ioctlBytes(this.master, TCSETS, new Uint8Array(termios.buffer));
  }

  /** The terminal goes away. */
  close(): void {
    if (this.open) closeSync(this.master);
    this.open = false;
  }

  private termios(): DataView {
    const bytes = new Uint8Array(TERMIOS_BYTES);
    ioctlBytes(this.master, TCGETS, bytes);
    return new DataView(bytes.buffer);
  }

  private read(): void {
    const piece = Buffer.alloc(4096);
    try {
      for (let count = 1; count > 0; ) {
        count = readSync(this.master, piece);
        this.text += piece.toString('latin1', 0, count);
      }
    } catch (cause) {
      // EIO: the program has left the terminal.
      const { code } = cause as NodeJS.ErrnoException;
      if (code !== 'EAGAIN' && code !== 'EIO') throw cause;
    }
  }
}
