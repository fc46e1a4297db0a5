/** Whether the process is one of Pando's own programs, which may set what holds for all of its threads. */

let own = false;

/** Says that this process is Pando's; before the first VM. */
export function ownProcess(): void {
  own = true;
}

/** False in a program that uses the library: its process stays as it is. */
export function isOwnProcess(): boolean {
  return own;
}
