import { asked, datasetNamed } from "../../adapters/ask.ts";
import { datasetOf } from "../../adapters/objects.ts";
import { rowOfVersion, visitNamed } from "../../adapters/version-names.ts";
import { failure } from "../../core/failure.ts";
import { DEFAULT_RESOLVE_ORDER } from "../../core/manifest/dataset.ts";
import { chooseStage, NAMED_MAX, type NamedRow, type Resolution } from "../../core/manifest/resolve.ts";
import { type Stage, type StoredRow, STAGES } from "../../core/manifest/row.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import { versionOf } from "../version-of.ts";

/** What is looked for. */
export interface Wanted {
  name: string;
  category?: string | undefined;
  /** The dataset's own unless given. */
  order?: Stage[] | undefined;
}

/** What one dataset has by the name; `number` is the sealed version's. */
export interface Answer {
  dataset: string;
  version: string;
  number: number | null;
  /** The order of stages that was gone by. */
  order: readonly Stage[];
  found: Resolution<NamedRow>;
  /** All that is known of one of the objects that were found. */
  whole(row: NamedRow): Promise<Result<StoredRow>>;
}

/** The live objects: by the dataset's index of names. */
export async function askLive(env: Env, { name, category, order }: Wanted, dataset: string): Promise<Result<Answer>> {
  const found = await asked(datasetNamed(dataset), async () =>
    datasetOf(env, dataset).resolve(name, category ?? null, order ?? null),
  );
  if (!found.ok) return found;
  const { config, ...resolution } = found.value;
  const rows = [...resolution.found, ...resolution.registered.flatMap(({ row }) => row ?? [])];
  return ok({
    dataset,
    version: "live",
    number: null,
    order: order ?? config.resolveOrder ?? DEFAULT_RESOLVE_ORDER,
    found: resolution,
    async whole({ key }) {
      const row = rows.find((each) => each.key === key);
      return row === undefined ? fail(failure("object-not-found")) : ok(row);
    },
  });
}

/** A sealed version is looked through for keys that end in the name. The registry, which is of today, says nothing of it. */
export async function askSealed(
  env: Env,
  { name, category, order }: Wanted,
  dataset: string,
  text: string,
): Promise<Result<Answer>> {
  const opened = await versionOf(env, dataset, text, "version");
  if (!opened.ok) return opened;
  const { sealed } = opened.value;
  if (sealed === null) return askLive(env, { name, category, order }, dataset);
  const config = await asked(datasetNamed(dataset), async () => datasetOf(env, dataset).config());
  if (!config.ok) return config;
  const ofStage = new Map<Stage, NamedRow[]>(STAGES.map((stage) => [stage, []]));
  const visited = await visitNamed(env, sealed.files, name, (row) => {
    const some = row.stage === null ? undefined : ofStage.get(row.stage);
    const isWanted = category === undefined || row.category === category;
    if (some !== undefined && some.length < (isWanted ? 2 * NAMED_MAX : NAMED_MAX)) some.push(row);
  });
  if (!visited.ok) return visited;
  const stages = order ?? config.value.resolveOrder ?? DEFAULT_RESOLVE_ORDER;
  return ok({
    dataset,
    version: opened.value.name,
    number: sealed.info.number,
    order: stages,
    found: { registered: [], ...chooseStage(stages, category ?? null, ofStage) },
    whole: ({ key }) => rowOfVersion(env, sealed.files, key),
  });
}
