import { runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { datasetOf } from "../../../workers/adapters/objects.ts";
import type { Row } from "../../../workers/core/manifest/row.ts";
import { rowOfPut } from "../../harness/rows.ts";
import { api } from "./api.ts";
import { must } from "./run.ts";

/** A registered dataset with these objects, in R2 and in its manifest. */
export async function fillDataset(
  seen: Env,
  name: string,
  kind: "files" | "zarr",
  objects: Record<string, string | Uint8Array>,
  said: (key: string) => Partial<Row> = () => ({}),
) {
  const { body } = await api(seen, `PUT /v1/datasets/${name}`, { kind, prefix: `${name}/` });
  const id = String(body["id"]);
  const put = async (key: string, content: string | Uint8Array) => {
    const stored = await env.DATASETS.put(`${name}/${key}`, content);
    const row = rowOfPut(key, stored, said(key));
    const { questions } = must(await datasetOf(env, name).applyRows(id, [row]));
    const answers = questions.map((question) => ({ ...question, row }));
    must(await datasetOf(env, name).answerRows(id, answers));
    return stored;
  };
  for (const [key, content] of Object.entries(objects)) await put(key, content);
  const seal = async (asked: object = {}) => {
    const begun = await api(seen, `POST /v1/datasets/${name}/versions`, asked);
    for (;;) {
      const described = await api(seen, `GET /v1/datasets/${name}/versions/${String(begun.body["number"])}`);
      if (described.body["state"] !== "sealing") return { begun, described };
      await runDurableObjectAlarm(datasetOf(env, name));
    }
  };
  return { id, put, seal };
}
