import * as z from "zod";
import { type Failure, failure } from "../core/failure.ts";
import { BODY_MAX_BYTES } from "../core/limits.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { Ctx } from "./context.ts";

/**
 * Reads and checks a JSON body: its type, its size before it is parsed, and every field. Unknown fields are refused
 * by name. A route whose fields all have defaults may be called without a body.
 *
 * @param options.wayOut what to do instead where the body is too large
 */
export async function readBody<T extends z.ZodType>(
  c: Ctx,
  schema: T,
  maxBytes: number = BODY_MAX_BYTES,
  { wayOut }: { wayOut?: string } = {},
): Promise<Result<z.output<T>>> {
  const bytes = await readCapped(c.req.raw, maxBytes, wayOut);
  if (!bytes.ok) return bytes;
  if (bytes.value.length === 0) return check(schema, {}, "invalid-body");
  const type = c.req.header("content-type") ?? "";
  if (!/^application\/json\s*(;|$)/i.test(type)) {
    return fail(
      failure("unsupported-media-type", `The Content-Type is "${type.slice(0, 100)}"; send application/json.`),
    );
  }
  if (isCrowded(bytes.value)) {
    const rule = `The body may have ${VALUES_MAX} objects, lists and members in all`;
    return fail(failure("body-too-large", wayOut === undefined ? `${rule}.` : `${rule}; ${wayOut}.`));
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(bytes.value));
  } catch {
    return fail(failure("invalid-body", "The body is not JSON in UTF-8."));
  }
  return check(schema, parsed, "invalid-body");
}

/** Ten thousand keys with what is said of each. */
const VALUES_MAX = 250_000;
const [QUOTE, BACKSLASH, COMMA, BRACE, BRACKET] = [0x22, 0x5c, 0x2c, 0x7b, 0x5b];

/** Whether JSON would become far more in memory than its bytes: sixteen million of them may be five million objects. */
function isCrowded(bytes: Uint8Array): boolean {
  if (bytes.length <= VALUES_MAX) return false;
  let [values, isText] = [0, false];
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (isText && byte === BACKSLASH) at++;
    else if (byte === QUOTE) isText = !isText;
    else if (!isText && (byte === COMMA || byte === BRACE || byte === BRACKET) && ++values > VALUES_MAX) return true;
  }
  return false;
}

/**
 * Checks the query parameters of a request; unknown ones, and those given twice, are refused by name.
 *
 * @param lists names that may be given several times; of these the schema sees the first
 */
export function readQuery<T extends z.ZodType>(
  c: Ctx,
  schema: T,
  { lists = [] }: { lists?: readonly string[] } = {},
): Result<z.output<T>> {
  const twice = Object.entries(c.req.queries()).find(([name, values]) => values.length > 1 && !lists.includes(name));
  if (twice === undefined) return check(schema, c.req.query(), "invalid-query");
  const [field, { length }] = twice;
  return fail(failure("invalid-query", `${field}: is given ${length} times; give it once.`, { field }));
}

function check<T extends z.ZodType>(
  schema: T,
  value: unknown,
  code: "invalid-body" | "invalid-query",
): Result<z.output<T>> {
  const parsed = schema.safeParse(value);
  return parsed.success ? ok(parsed.data) : fail(describe(parsed.error, code));
}

function describe(error: z.ZodError, code: "invalid-body" | "invalid-query"): Failure {
  const issue = error.issues[0];
  if (issue === undefined) return failure(code);
  if (issue.code === "unrecognized_keys") {
    const field = fieldAt([...issue.path, issue.keys[0] ?? ""]);
    return failure(code, `There is no field "${field}" here.`, { field });
  }
  const field = fieldAt(issue.path);
  // Of a key that is refused, its own issues say by which rule.
  const message = (issue.code === "invalid_key" ? issue.issues[0]?.message : undefined) ?? issue.message;
  return failure(code, field === "" ? message : `${field}: ${message}`, field === "" ? {} : { field });
}

/** A field as refusals name it: its name may be as long as a request. */
const fieldAt = (path: readonly PropertyKey[]): string => path.join(".").slice(0, 200);

async function readCapped(request: Request, maxBytes: number, wayOut?: string): Promise<Result<Uint8Array>> {
  const rule = `The body may have ${maxBytes} bytes`;
  const tooLarge = fail(failure("body-too-large", wayOut === undefined ? `${rule}.` : `${rule}; ${wayOut}.`));
  if (Number(request.headers.get("content-length") ?? 0) > maxBytes) return tooLarge;
  const reader = request.body?.getReader();
  if (reader === undefined) return ok(new Uint8Array(0));
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > maxBytes) {
      await reader.cancel();
      return tooLarge;
    }
    chunks.push(value);
  }
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return ok(bytes);
}
