/** A piece of what a job reads: handed to one node at a time. */
export interface Unit {
  parts: Part[];
  /** Bytes of all parts. */
  bytes: number;
}

/** An object, a chunk of an array, or a stretch of an object's records. */
export interface Part {
  /** Relative to the dataset's prefix, in Unicode NFC. */
  key: string;
  /** Bytes to be read; 0 for a chunk that the version does not hold, which is one of fill values. */
  size: number;
  /** Bytes of the object, where it is not all of it. Only of records. */
  range?: { offset: number; length: number };
  /** The number of the first record in the range, from 0, and how many there are; also those that cannot be read. */
  records?: { first: number; count: number };
  /** The path of the array, as the job's input names it. Only of chunks. */
  array?: string;
  /** The chunk's place in the array's grid: one number a dimension. */
  chunk?: number[];
}
