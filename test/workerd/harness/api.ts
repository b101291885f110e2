import { createExecutionContext, waitOnExecutionContext } from "cloudflare:test";
import { sha256Hex } from "../../../workers/adapters/web-hmac.ts";
import worker from "../../../workers/index.ts";

/** API tokens: one of each role, and an admin's that is limited to some datasets. */
export const ADMIN = "pst_admin";
export const READER = "pst_reader";
export const LIMITED = "pst_limited";

/** The variable by which the Worker knows them. */
export async function apiTokens(...limitedTo: string[]): Promise<{ API_TOKENS: object[] }> {
  const known = [
    { token: ADMIN, role: "admin" },
    { token: READER, role: "read" },
    { token: LIMITED, role: "admin", datasets: limitedTo },
  ];
  const hashed = known.map(async ({ token, ...rest }) => ({ sha256: await sha256Hex(token), ...rest }));
  return { API_TOKENS: await Promise.all(hashed) };
}

export interface ApiAnswer<T = Record<string, unknown>> {
  status: number;
  headers: Headers;
  body: T;
}

/** A request of the control API, as it goes through the whole Worker. */
export async function request(
  seen: Env,
  line: string,
  body?: unknown,
  token = ADMIN,
  more: Record<string, string> = {},
): Promise<Response> {
  const [method = "GET", path = "/"] = line.split(" ");
  const json = body === undefined ? {} : { "content-type": "application/json" };
  const init = { method, headers: { authorization: `Bearer ${token}`, ...json, ...more } };
  const sent = body === undefined ? init : { ...init, body: JSON.stringify(body) };
  const ctx = createExecutionContext();
  const response = await worker.fetch(
    new Request<unknown, IncomingRequestCfProperties>(`https://penstock.example${path}`, sent),
    seen,
    ctx,
  );
  await waitOnExecutionContext(ctx);
  return response;
}

/** The same, of an answer in JSON. */
export async function api<T = Record<string, unknown>>(
  seen: Env,
  line: string,
  body?: unknown,
  token = ADMIN,
): Promise<ApiAnswer<T>> {
  const response = await request(seen, line, body, token);
  return { status: response.status, headers: response.headers, body: await response.json<T>() };
}
