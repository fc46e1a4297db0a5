/** A VM's serial console as a stream (node:stream), so that it can be piped and iterated. */
import { Duplex } from 'node:stream';
import type { ConsoleOutput } from './console-output.js';

/** What takes bytes for the guest, as Vm.writeConsole does. */
export interface ConsoleWriter {
  write(bytes: Uint8Array): Promise<boolean>;
}

/** Bytes go to the guest with the stream's own back-pressure; input that an ended VM gets is dropped. */
export function consoleStream(output: ConsoleOutput, input: ConsoleWriter): Duplex {
  let wanted: (() => void) | undefined;
  const goOn = (): void => {
    wanted?.();
    wanted = undefined;
  };
  const stream = new Duplex({
    read: goOn,
    write: (bytes: Uint8Array, _encoding, done) => {
      input.write(bytes).then(() => done(), done);
    },
    destroy: (error, done) => {
      unsubscribe();
      done(error);
    },
  });
  const unsubscribe = output.add((bytes) => {
    if (stream.push(bytes)) return undefined;
    return new Promise<void>((resolve) => {
      wanted = resolve;
    });
  });
  output.onEnd(() => {
    if (!stream.destroyed) stream.push(null);
  });
  return stream;
}
