import { env } from "cloudflare:workers";

export interface Upload {
  key: string;
  uploadId: string;
}

/** The dataset bucket, noting each multipart upload that is created in it. */
export function notingUploads(): { bucket: R2Bucket; created: Upload[] } {
  const created: Upload[] = [];
  const createMultipartUpload = async (key: string, options?: R2MultipartOptions) => {
    const upload = await env.DATASETS.createMultipartUpload(key, options);
    created.push({ key, uploadId: upload.uploadId });
    return upload;
  };
  return { bucket: replacing(env.DATASETS, { createMultipartUpload }), created };
}

/** A bucket of which one method of its uploads is another: it is given the upload and the method's arguments. */
export function withUploadMethod<M extends "uploadPart" | "complete">(
  bucket: R2Bucket,
  method: M,
  run: (upload: R2MultipartUpload, ...args: Parameters<R2MultipartUpload[M]>) => ReturnType<R2MultipartUpload[M]>,
): R2Bucket {
  const resumeMultipartUpload = (key: string, uploadId: string) => {
    const upload = bucket.resumeMultipartUpload(key, uploadId);
    return replacing(upload, {
      [method]: (...args: Parameters<R2MultipartUpload[M]>) => run(upload, ...args),
    });
  };
  return replacing(bucket, { resumeMultipartUpload });
}

/** Of these uploads, those that were neither completed nor aborted: R2 still takes a part for them. */
export async function stillOpen(created: readonly Upload[]): Promise<Upload[]> {
  const open: Upload[] = [];
  for (const { key, uploadId } of created) {
    try {
      await env.DATASETS.resumeMultipartUpload(key, uploadId).uploadPart(1, "x");
      open.push({ key, uploadId });
    } catch (error) {
      if (!String(error).includes("(10024)")) throw error;
    }
  }
  return open;
}

/** The object with some methods replaced; the others keep their `this`. */
export function replacing<T extends object>(object: T, methods: Partial<T>): T {
  return new Proxy(object, {
    get(target, name) {
      const replaced: unknown = Reflect.get(methods, name);
      if (replaced !== undefined) return replaced;
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}
