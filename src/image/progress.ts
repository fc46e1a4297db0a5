/**
 * How long-running image operations tell a caller where they are. A sink is called often and must
 * return at once; it must not throw.
 */

/**
 * @param phase what is being done now, for a person ("downloading linux-image-…")
 * @param fraction how much of this phase is done, 0 to 1; absent when it is not known
 */
export type ProgressSink = (phase: string, fraction?: number) => void;

/** The sink for callers that gave none. */
export const silent: ProgressSink = () => undefined;
