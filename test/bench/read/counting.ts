/**
 * The Worker that is measured is the one that is deployed, with its R2 binding counted. Runs in workerd; the types are
 * structural, for this folder is checked with Node's.
 */

/** R2's classes of operations (R2 pricing); deleting is free. Parts of a multipart upload are not told apart here. */
const CLASS = new Map([
  ["put", "classA"],
  ["list", "classA"],
  ["createMultipartUpload", "classA"],
  ["get", "classB"],
  ["head", "classB"],
] as const) as ReadonlyMap<PropertyKey, "classA" | "classB">;

export type Operations = Record<"classA" | "classB", number>;

interface Bucket {
  put(key: string, body: unknown): Promise<unknown>;
  delete(key: string): Promise<unknown>;
}
interface Bindings {
  DATASETS: Bucket;
}
interface Handlers<Env> {
  fetch(request: Request, env: Env, context: unknown): Response | Promise<Response>;
}

/**
 * Wraps a Worker: R2 operations through the binding `DATASETS` are counted. Beside the Worker's own paths there are
 * `GET /__operations`, which answers the counts since it was last asked, and `PUT` and `DELETE /__objects/<key>`, straight
 * into the bucket and not counted.
 */
export function counting<Env extends Bindings>(worker: Handlers<Env>): Handlers<Env> {
  let operations: Operations = { classA: 0, classB: 0 };
  // One object an isolate, as the runtime has it: the Worker keeps what it read from `env` by its identity.
  const wrapped = new WeakMap<Env, Env>();
  const wrap = (env: Env): Env => {
    const counted: Env = { ...env, DATASETS: countingCalls(env.DATASETS, (name) => operations[name]++) };
    wrapped.set(env, counted);
    return counted;
  };
  const tool = async (request: Request, env: Env): Promise<Response> => {
    const { pathname } = new URL(request.url);
    if (pathname === "/__operations") {
      const answer = Response.json(operations);
      operations = { classA: 0, classB: 0 };
      return answer;
    }
    const key = pathname.slice("/__objects/".length);
    await (request.method === "PUT" ? env.DATASETS.put(key, request.body) : env.DATASETS.delete(key));
    return new Response(null, { status: 204 });
  };
  return {
    ...worker,
    fetch(request, env, context) {
      if (request.url.includes("/__")) return tool(request, env);
      return worker.fetch(request, wrapped.get(env) ?? wrap(env), context);
    },
  };
}

/** The binding itself answers all calls: a Proxy as `this` is refused by the runtime. */
function countingCalls<B extends Bucket>(bucket: B, count: (name: "classA" | "classB") => void): B {
  const methods = new Map<PropertyKey, unknown>();
  return new Proxy(bucket, {
    get(target, property) {
      const known = methods.get(property);
      if (known !== undefined) return known;
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== "function") return value;
      const counted = CLASS.get(property);
      const method = (...args: unknown[]): unknown => {
        if (counted !== undefined) count(counted);
        return Reflect.apply(value, target, args);
      };
      methods.set(property, method);
      return method;
    },
  });
}
