import type { datasetOf } from "../../../workers/adapters/objects.ts";
import { must } from "./run.ts";

/** Has a dataset learn that R2 has nothing at these keys any more. */
export async function takeOut(
  stub: ReturnType<typeof datasetOf>,
  datasetId: string,
  keys: readonly string[],
): Promise<void> {
  const hints = keys.map((key) => ({ key, etag: null }));
  const { questions } = must(await stub.hint(datasetId, hints));
  must(
    await stub.answerRows(
      datasetId,
      questions.map((question) => ({ ...question, row: null })),
    ),
  );
}
