/** Typed ways to the Durable Objects: one place that knows how each is named. */
export const datasetOf = (env: Env, name: string) => env.DATASET.getByName(name);
export const migrationOf = (env: Env, id: string) => env.MIGRATION.getByName(id);
export const jobOf = (env: Env, id: string) => env.GPU_JOB.getByName(id);
export const directoryOf = (env: Env) => env.DIRECTORY.getByName("directory");
export const sourceOf = (env: Env, name: string) => env.SOURCE.getByName(name);
