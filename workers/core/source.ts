import * as z from "zod";
import { limitsSchema, presetSchema } from "./pressure/limits.ts";

/** An S3-compatible bucket that data comes from, as it stands in the configuration. */
export const sourceSchema = z.strictObject({
  endpoint: z
    .url({ protocol: /^https?$/ })
    .refine((text) => !text.endsWith("/"), "has no trailing slash")
    .refine((text) => !text.includes("%"), "has no percent escapes"),
  region: z.string().regex(/^[^/]+$/, "is a name without slashes"),
  bucket: z.string().min(1),
  /** "path": endpoint/bucket/key; "virtual": bucket.endpoint/key. */
  addressing: z.enum(["path", "virtual"]).default("path"),
  /** The limits to begin with; "s3" where it is not said. */
  preset: presetSchema.optional(),
  /** What differs from the preset. */
  limits: limitsSchema.optional(),
});

export type SourceConfig = z.infer<typeof sourceSchema>;

export interface Credentials {
  accessKeyId: string;
  secretAccessKey: string;
}
