import { ok } from "../core/result.ts";
import type { SealedKeys } from "../ports/sealed-keys.ts";

/** Datasets have no sealed versions as yet. */
export const noSealedKeys: SealedKeys = async () => ok(new Set());
