/** Milliseconds since 1970, by whoever holds the time: the platform in the shells, a number in a test. */
export type Clock = () => number;
