/** Tar archives for tests: ustar headers, with a pax header in front where one is needed. */

const BLOCK = 512;

/** A member; names are texts, in UTF-8. */
export interface TarMember {
  readonly name: string;
  /** Type flag; default: a regular file. */
  readonly type?: string;
  readonly content?: string | Uint8Array;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly linkName?: string;
  readonly major?: number;
  readonly minor?: number;
  /** Records of a pax header before the member. */
  readonly pax?: Readonly<Record<string, string | Uint8Array>>;
}

function header(member: TarMember, size: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, length: number) =>
    block.write(value.toString(8).padStart(length - 1, '0'), at, 'latin1');
  block.write(member.name, 0, 100, 'utf8');
  octal(member.mode ?? 0o644, 100, 8);
  octal(member.uid ?? 0, 108, 8);
  octal(member.gid ?? 0, 116, 8);
  octal(size, 124, 12);
  octal(member.mtime ?? 1_600_000_000, 136, 12);
  block.write(member.type ?? '0', 156, 'latin1');
  block.write(member.linkName ?? '', 157, 100, 'utf8');
  block.write('ustar\0' + '00', 257, 'latin1');
  octal(member.major ?? 0, 329, 8);
  octal(member.minor ?? 0, 337, 8);
  block.fill(0x20, 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

function padded(bytes: Uint8Array): Uint8Array {
  return Buffer.concat([bytes, new Uint8Array(-bytes.length & (BLOCK - 1))]);
}

/** A pax record: its own length in decimal, keyword, value (pax, "pax Header Block"). */
function record(keyword: string, value: string | Uint8Array): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${keyword}=`), Buffer.from(value), Buffer.from('\n')]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length++;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

/** The blocks of one member. */
export function tarMember(member: TarMember): Uint8Array {
  const content = Buffer.from(member.content ?? '');
  const blocks: Uint8Array[] = [];
  const pax = Object.entries(member.pax ?? {});
  if (pax.length > 0) {
    const records = Buffer.concat(pax.map(([keyword, value]) => record(keyword, value)));
    blocks.push(header({ name: 'pax', type: 'x' }, records.length), padded(records));
  }
  return Buffer.concat([...blocks, header(member, content.length), padded(content)]);
}

/** A whole archive. */
export function tarArchive(members: readonly TarMember[]): Uint8Array {
  return Buffer.concat([...members.map(tarMember), new Uint8Array(2 * BLOCK)]);
}
