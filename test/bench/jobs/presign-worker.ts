/**
 * Signs URLs inside workerd, ours or with aws4fetch. Timers stand still there while it computes, so whoever asks has the
 * clock. aws4fetch is its signer itself, with one key cache for all URLs, which spares it the Request that
 * `AwsClient.sign` would make of each.
 */
import { AwsV4Signer } from "aws4fetch";
import { formatAmzDate } from "../../../workers/core/sigv4/presign.ts";
import { CREDENTIALS, HOST, NOW, type Order, requestsOf, signOurs } from "./presign-orders.ts";

async function signTheirs(order: Order): Promise<string[]> {
  const datetime = formatAmzDate(NOW);
  const cache = new Map<string, ArrayBuffer>();
  const fixed = { ...CREDENTIALS, service: "s3", region: "auto", signQuery: true, allHeaders: true, datetime, cache };
  const urls: string[] = [];
  for (const { method, bucket, key, expiresSeconds, headers = {} } of requestsOf(order)) {
    const url = `${HOST}/${bucket}/${key}?X-Amz-Expires=${expiresSeconds}`;
    const signed = await new AwsV4Signer({ ...fixed, method, url, headers: { ...headers } }).sign();
    urls.push(signed.url.href);
  }
  return urls;
}

export default {
  /** Answers with so many of the URLs as are to be shown: all are made. */
  async fetch(request: Request): Promise<Response> {
    const order = (await request.json()) as Order;
    const urls = await (order.signer === "penstock" ? signOurs(order) : signTheirs(order));
    return Response.json(urls.slice(0, order.shown));
  },
};
