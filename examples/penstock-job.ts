/** What a job's node says to Penstock: plain `fetch`, no package of ours to install. */

export interface SignedUrl {
  key: string;
  url: string;
  /** To be sent exactly as they are. */
  headers: Record<string, string>;
  etag: string | null;
  size: number | null;
  /** Milliseconds since 1970. */
  expiresAt: number;
}

interface UrlsAnswer {
  urls: Omit<SignedUrl, "expiresAt">[];
  expiresAt: string;
}

export interface Job {
  heartbeat(): Promise<void>;
  /** Presigned R2 URLs to read these keys, in one request for up to 10,000. */
  readUrls(keys: string[]): Promise<SignedUrl[]>;
  /** Puts an output straight into R2, once: the URL signs its length, its type and that nothing is there yet. */
  putOutput(key: string, body: string, contentType: string): Promise<void>;
}

/** @param url the API's origin; @param id the job; @param token the job's token; @param node this node's name */
export function connectJob(url: string, id: string, token: string, node: string): Job {
  async function call<T>(path: string, body: unknown): Promise<T> {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const response = await fetch(`${url}/v1/jobs/${id}/${path}`, {
      method: "POST",
      headers,
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${path} answered ${response.status}: ${await response.text()}`);
    return (await response.json()) as T;
  }

  return {
    async heartbeat() {
      await call("heartbeat", { node });
    },
    async readUrls(keys) {
      const { urls, expiresAt } = await call<UrlsAnswer>("urls", { method: "GET", keys });
      return urls.map((signed) => ({ ...signed, expiresAt: Date.parse(expiresAt) }));
    },
    async putOutput(key, body, contentType) {
      const bytes = new TextEncoder().encode(body);
      const asked = { method: "PUT", objects: [{ key, size: bytes.length, contentType }] };
      const [signed] = (await call<UrlsAnswer>("urls", asked)).urls;
      if (signed === undefined) throw new Error(`No URL for ${key}`);
      const response = await fetch(signed.url, { method: "PUT", headers: signed.headers, body: bytes });
      // 412: it is there already. If an answer was lost it is ours, and finish accepts it; if not, finish says so.
      if (!response.ok && response.status !== 412)
        throw new Error(`PUT ${key} answered ${response.status}: ${await response.text()}`);
    },
  };
}
