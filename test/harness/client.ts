import { sleep } from "./instance.ts";

/** A refusal of the API, as its problem+json says it. */
class ApiError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, detail: string) {
    super(`${status} ${code}: ${detail}`);
    this.status = status;
    this.code = code;
  }
}

/** A caller of the control API: JSON in, JSON out. */
export interface Client {
  call<T = Record<string, unknown>>(method: string, path: string, body?: unknown): Promise<T>;
}

export function createClient(url: string, token: string): Client {
  return {
    async call<T>(method: string, path: string, body?: unknown): Promise<T> {
      const response = await fetch(`${url}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const answer = (await response.json()) as { code?: string; detail?: string };
      if (!response.ok) throw new ApiError(response.status, answer.code ?? "", answer.detail ?? "");
      return answer as T;
    },
  };
}

export interface Migration {
  id: string;
  state: string;
  listed: { objects: number; bytes: number; complete: boolean };
  copied: { objects: number; bytes: number };
  skipped: { objects: number; bytes: number };
  failed: { objects: number };
  proofs: Record<string, number>;
  rate: { objectsPerSecond: number; bytesPerSecond: number };
  secondsLeft: number | null;
  operations: Record<"classA" | "classB" | "queue" | "sourceGet" | "sourceList", number>;
  failures: { key: string; code: string; detail: string }[];
  problem: { code: string; detail: string } | null;
}

/** Follows a migration to its end. */
export async function followMigration(
  client: Client,
  id: string,
  options: { onStatus?: (status: Migration) => void; timeoutMs?: number } = {},
): Promise<Migration> {
  const until = Date.now() + (options.timeoutMs ?? 600_000);
  for (;;) {
    const status = await client.call<Migration>("GET", `/v1/migrations/${id}`);
    options.onStatus?.(status);
    if (status.state === "done" || status.state === "failed") return status;
    if (Date.now() > until) throw new Error(`Migration ${id} did not end in time: ${JSON.stringify(status)}`);
    await sleep(200);
  }
}
