/**
 * S3 servers by other people, as sources. None is AWS; what each does in its own way stands in its file, and what it
 * refuses or spells differently is printed by every run.
 */
export { startGofakes3 } from "./gofakes3.ts";
export { startMoto } from "./moto.ts";
export type { SourceServer } from "./source-server.ts";
export { startVersityGw } from "./versitygw.ts";
