/** Which kernel, initrd and command line a command boots. */

import { PandoError } from '../error.js';
import { mergeCommandLine } from '../loader/command-line.js';
import { ensureImage } from './ensure-image.js';
import { DEFAULT_IMAGE_NAME } from './manifest.js';
import type { ProgressSink } from './progress.js';

/** What the user said. */
export interface BootChoice {
  readonly kernel?: string | undefined;
  readonly initrd?: string | undefined;
  /** Name of an image of the store. */
  readonly image?: string | undefined;
  readonly append?: string | undefined;
  /** The VM has devices whose drivers are modules. */
  readonly modules?: boolean;
}

/** What is booted. */
export interface BootImage {
  readonly kernel: string;
  readonly initrd: string | undefined;
  /** An archive that follows the initrd's; only when it was asked for, and the image has it. */
  readonly modules: string | undefined;
  readonly commandLine: string;
}

/**
 * With a kernel of the user's: that, and `append` is the whole command line. Else an image of the
 * store (Debian's is pulled when it is missing), its command line followed by `append`; an initrd of
 * the user's takes the place of the image's.
 * @throws PandoError OPTION_CONFLICT, and what `ensureImage` throws
 */
export async function chooseBootImage(
  choice: BootChoice,
  progress: ProgressSink,
): Promise<BootImage> {
  const { kernel, initrd, append, modules = false } = choice;
  if (kernel !== undefined) {
    if (choice.image !== undefined) {
      throw new PandoError('OPTION_CONFLICT', '--image and --kernel name two kernels', {
        remedy: 'give one of them',
      });
    }
    return { kernel, initrd, modules: undefined, commandLine: append ?? '' };
  }
  const image = await ensureImage(choice.image ?? DEFAULT_IMAGE_NAME, { progress, modules });
  return {
    kernel: image.kernelPath,
    initrd: initrd ?? image.initrdPath,
    modules: modules ? image.modulesPath : undefined,
    commandLine: mergeCommandLine(image.commandLine, append ?? ''),
  };
}
