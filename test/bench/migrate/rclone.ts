import { join } from "node:path";
import { CONNECTIONS_MAX } from "../../../workers/core/limits.ts";
import { installOnce, PENSTOCK_FOLDER, run } from "../../sources/install.ts";
import type { BenchSource } from "./source.ts";
import type { S3Endpoint } from "./stage.ts";

const RCLONE_VERSION = "v1.75.1";

/** Copies what is below `from` at the source to `to` in the simulator's bucket, as the Worker does: six objects at once. */
export type Rclone = (from: string, to: string) => Promise<void>;

export async function createRclone(source: BenchSource, { endpoint, bucket, ...keys }: S3Endpoint): Promise<Rclone> {
  const program = await installRclone();
  const env: NodeJS.ProcessEnv = {
    PATH: process.env.PATH,
    RCLONE_CONFIG: "/dev/null",
    ...remote("from", source.endpoint, source.region, source),
    ...remote("to", endpoint, "auto", keys),
  };
  return (from, to) =>
    run(
      program,
      [
        ...["copy", "--checksum", "--transfers", String(CONNECTIONS_MAX), "--checkers", String(CONNECTIONS_MAX)],
        // The destination is empty, and its one bucket is there.
        ...["--s3-no-check-bucket", "--retries", "1", "--low-level-retries", "1"],
        `from:${source.bucket}/${from}`,
        `to:${bucket}/${to}`,
      ],
      `There is no ${program}, though it was installed`,
      env,
    );
}

/** Remotes by the environment, where other users cannot read their keys. */
function remote(
  name: string,
  endpoint: string,
  region: string,
  keys: { accessKeyId: string; secretAccessKey: string },
): NodeJS.ProcessEnv {
  const prefix = `RCLONE_CONFIG_${name.toUpperCase()}`;
  return {
    [`${prefix}_TYPE`]: "s3",
    [`${prefix}_PROVIDER`]: "Other",
    [`${prefix}_ENDPOINT`]: endpoint,
    [`${prefix}_REGION`]: region,
    [`${prefix}_ACCESS_KEY_ID`]: keys.accessKeyId,
    [`${prefix}_SECRET_ACCESS_KEY`]: keys.secretAccessKey,
  };
}

/** Four minutes on two cores the first time: its modules stay in Go's own caches. */
function installRclone(): Promise<string> {
  const folder = join(PENSTOCK_FOLDER, "servers");
  return installOnce({
    what: `rclone ${RCLONE_VERSION}`,
    program: join(folder, "rclone"),
    install: () =>
      run(
        "go",
        ["install", "-ldflags=-s -w", `github.com/rclone/rclone@${RCLONE_VERSION}`],
        `rclone ${RCLONE_VERSION} is built with Go, and there is no "go" on the PATH. Install Go 1.25 or newer.`,
        { ...process.env, GOBIN: folder, CGO_ENABLED: "0" },
      ),
  });
}
