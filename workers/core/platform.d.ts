// All of the platform that the core may know. Under workers/core/tsconfig.json nothing else resolves.
declare class TextEncoder {
  encode(text?: string): Uint8Array<ArrayBuffer>;
  encodeInto(text: string, into: Uint8Array): { read: number; written: number };
}
declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  decode(bytes?: Uint8Array): string;
}
declare class URL {
  constructor(url: string, base?: string);
  readonly protocol: string;
  readonly host: string;
  readonly pathname: string;
  readonly origin: string;
  readonly search: string;
  readonly hostname: string;
}
declare function atob(text: string): string;
declare function btoa(text: string): string;
