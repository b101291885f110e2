import { createS3Store } from "../../workers/adapters/s3-store.ts";
import { createS3Writer } from "../../workers/adapters/s3-writer.ts";
import { describeMultipartWriter } from "./multipart-writer.ts";
import { describeObjectWriter } from "./object-writer.ts";
import { ownSource } from "../workerd/harness/own-source.ts";

const { endpoint, region, bucket, accessKeyId, secretAccessKey } = ownSource();
const config = { endpoint, region, bucket, addressing: "path" } as const;
const credentials = { accessKeyId, secretAccessKey };
const setup = () => ({ ...createS3Store(config, credentials), ...createS3Writer(config, credentials) });

// Miniflare's S3 endpoint (5.20261102): a real server, that takes conditions on puts and enforces Content-MD5; it knows
// no checksum headers. What other servers answer is in test/workerd/s3-writer.test.ts.
describeObjectWriter("the S3 writer", setup);
describeMultipartWriter("the S3 writer", setup);
