/** The clients that read a matrix of Zarr stores and files of every size, each all of it. */
import type { Checks } from "../harness/checks.ts";
import { runScript } from "./python.ts";
import type { Stage } from "./stage.ts";
import { checkZarrita, type Roots } from "./zarrita.ts";

const SCRIPTS = {
  "zarr-python 3 over fsspec: the matrix": "zarr_matrix.py",
  "zarr-python 3 over obstore: the matrix": "zarr_obstore.py",
  "xarray: nested groups": "xarray_matrix.py",
  "TensorStore: the matrix": "tensorstore_http.py",
  "DuckDB: Parquet": "parquet_duckdb.py",
  "pyarrow over fsspec: Parquet": "parquet_pyarrow.py",
  "fsspec: whole files": "fsspec_whole.py",
  "obstore: whole files, ranges and conditions": "obstore_http.py",
};

export interface Readers {
  python: string;
  stage: Stage;
  /** The objects as they were written, a file each. */
  folder: string;
  /** The values of the matrix's arrays. */
  truth: string;
}

export async function runReaders(checks: Checks, { python, stage, folder, truth }: Readers): Promise<void> {
  const roots = { matrix: await rootsOf(stage, "matrix"), files: await rootsOf(stage, "files") };
  for (const [title, name] of Object.entries(SCRIPTS)) {
    await checks.section(title, () => runScript(checks, { python, name, given: { roots, folder, truth } }));
  }
  await checks.section("zarrita: the matrix", () => checkZarrita(checks, roots.matrix, truth));
}

async function rootsOf(stage: Stage, dataset: "matrix" | "files"): Promise<Roots> {
  const signed = await stage.rootUrl(dataset);
  const [, origin = "", capability = ""] = /^(.*)\/t\/([^/]+)\//.exec(signed) ?? [];
  return { signed, bare: `${origin}/d/${dataset}/`, capability };
}
