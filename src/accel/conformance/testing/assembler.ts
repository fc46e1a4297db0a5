/**
 * Machine code for small guests: 32-bit instructions given as bytes, with labels. The methods from
 * `label` on give instructions that mean the same in 64-bit mode. Encodings are those
 * of the Intel SDM vol. 2.
 */

/** General registers in encoding order. */
export const REGISTER = { eax: 0, ecx: 1, edx: 2, ebx: 3, esp: 4, ebp: 5, esi: 6, edi: 7 } as const;
export type Register = keyof typeof REGISTER;

/** Condition codes of Jcc. */
const CONDITION = { b: 2, ae: 3, z: 4, nz: 5, be: 6, a: 7 } as const;

/** SIB byte for neither base nor index: an absolute address, in 64-bit mode too (below 2 GiB). */
const ABSOLUTE = 0x25;

interface Reference {
  readonly at: number;
  readonly label: string;
  /** Absolute address, or distance from the end of the four bytes. */
  readonly kind: 'absolute' | 'relative';
  readonly addend: number;
}

export class Assembler {
  readonly origin: number;
  readonly #bytes: number[] = [];
  readonly #labels = new Map<string, number>();
  readonly #references: Reference[] = [];
  #unique = 0;

  /** @param origin address of the first byte */
  constructor(origin: number) {
    this.origin = origin;
  }

  /** Address of the next byte. */
  get here(): number {
    return this.origin + this.#bytes.length;
  }

  /** Bytes: numbers, or hexadecimal text. */
  emit(...parts: (number | string)[]): this {
    for (const part of parts) {
      if (typeof part === 'number') this.#bytes.push(part & 0xff);
      else this.#bytes.push(...Buffer.from(part.replaceAll(' ', ''), 'hex'));
    }
    return this;
  }

  word(value: number): this {
    return this.emit(value, value >>> 8);
  }

  dword(value: number): this {
    return this.emit(value, value >>> 8, value >>> 16, value >>> 24);
  }

  label(name: string): this {
    if (this.#labels.has(name)) throw new Error(`label ${name} is there already`);
    this.#labels.set(name, this.here);
    return this;
  }

  /** A label of its own each time. */
  fresh(): string {
    this.#unique += 1;
    return `.${this.#unique}`;
  }

  /** Four bytes: the address of a label. */
  address(label: string, addend = 0): this {
    return this.#refer(label, 'absolute', addend);
  }

  #refer(label: string, kind: Reference['kind'], addend = 0): this {
    this.#references.push({ at: this.#bytes.length, label, kind, addend });
    return this.dword(0);
  }

  jmp(label: string): this {
    return this.emit(0xe9).#refer(label, 'relative');
  }

  call(label: string): this {
    return this.emit(0xe8).#refer(label, 'relative');
  }

  j(condition: keyof typeof CONDITION, label: string): this {
    return this.emit(0x0f, 0x80 + CONDITION[condition]).#refer(label, 'relative');
  }

  /** MOV register, value or address of a label. */
  mov(register: Register, value: number | string): this {
    this.emit(0xb8 + REGISTER[register]);
    return typeof value === 'number' ? this.dword(value) : this.address(value);
  }

  /** MOV register, [address]. */
  load(register: Register, address: number): this {
    return this.emit(0x8b, 0x04 | (REGISTER[register] << 3), ABSOLUTE).dword(address);
  }

  /** MOV [address], register. */
  store(address: number, register: Register): this {
    return this.emit(0x89, 0x04 | (REGISTER[register] << 3), ABSOLUTE).dword(address);
  }

  /** MOV dword [address], value. */
  storeValue(address: number, value: number): this {
    return this.emit(0xc7, 0x04, ABSOLUTE).dword(address).dword(value);
  }

  /** INC dword [address]. */
  increment(address: number): this {
    return this.emit(0xff, 0x04, ABSOLUTE).dword(address);
  }

  /** CMP dword [address], value. */
  compare(address: number, value: number): this {
    return this.emit(0x81, 0x3c, ABSOLUTE).dword(address).dword(value);
  }

  /** OUT to a port of a value of 1, 2 or 4 bytes; changes EAX and EDX. */
  out(port: number, value: number, size: 1 | 2 | 4 = 1): this {
    this.mov('edx', port).mov('eax', value);
    return this.emit(size === 1 ? 'ee' : size === 2 ? '66ef' : 'ef');
  }

  /** EAX becomes what a port gives, the rest zero; changes EDX. */
  in(port: number, size: 1 | 2 | 4 = 1): this {
    this.mov('edx', port).mov('eax', 0);
    return this.emit(size === 1 ? 'ec' : size === 2 ? '66ed' : 'ed');
  }

  /** The code, labels resolved. */
  bytes(): Uint8Array {
    const bytes = Uint8Array.from(this.#bytes);
    const view = new DataView(bytes.buffer);
    for (const { at, label, kind, addend } of this.#references) {
      const target = this.#labels.get(label);
      if (target === undefined) throw new Error(`label ${label} is nowhere`);
      const base = kind === 'absolute' ? 0 : this.origin + at + 4;
      view.setUint32(at, (target + addend - base) >>> 0, true);
    }
    return bytes;
  }
}
