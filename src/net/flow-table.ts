/** The flows of one VM by their addresses and ports, found without making anything. */

/** What tells one flow of a VM from another. The far end is as the guest names it. */
export interface FlowKey {
  readonly guestAddress: number;
  readonly guestPort: number;
  readonly farAddress: number;
  readonly farPort: number;
}

export class FlowTable<Flow extends FlowKey> {
  size = 0;
  /** By guest port and far address: flows that share both differ in the rest. */
  readonly #buckets = new Map<number, Flow[]>();
  #latest: Flow | undefined;

  find(
    guestAddress: number,
    guestPort: number,
    farAddress: number,
    farPort: number,
  ): Flow | undefined {
    const latest = this.#latest;
    if (
      latest !== undefined &&
      latest.guestPort === guestPort &&
      latest.farPort === farPort &&
      latest.farAddress === farAddress &&
      latest.guestAddress === guestAddress
    ) {
      return latest;
    }
    const bucket = this.#buckets.get(guestPort * 0x100000000 + farAddress);
    if (bucket === undefined) return undefined;
    for (const flow of bucket) {
      if (flow.farPort !== farPort || flow.guestAddress !== guestAddress) continue;
      this.#latest = flow;
      return flow;
    }
    return undefined;
  }

  add(flow: Flow): void {
    const key = flow.guestPort * 0x100000000 + flow.farAddress;
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) this.#buckets.set(key, [flow]);
    else bucket.push(flow);
    this.size += 1;
  }

  delete(flow: Flow): void {
    if (this.#latest === flow) this.#latest = undefined;
    const key = flow.guestPort * 0x100000000 + flow.farAddress;
    const bucket = this.#buckets.get(key);
    const index = bucket?.indexOf(flow) ?? -1;
    if (bucket === undefined || index < 0) return;
    if (bucket.length === 1) this.#buckets.delete(key);
    else bucket.splice(index, 1);
    this.size -= 1;
  }

  *values(): Iterable<Flow> {
    for (const bucket of [...this.#buckets.values()]) yield* [...bucket];
  }
}
