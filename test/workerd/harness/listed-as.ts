import { intercept, type Wire } from "./intercept.ts";

/** Elements of one object in a listing, such as StorageClass. */
export type ListedAs = Readonly<Partial<Record<"Key" | "StorageClass" | "LastModified" | "Size" | "ETag", string>>>;

/** Has the source's listings say other things of some objects, by their last segments. Ends with the test. */
export function listedAs(changes: ReadonlyMap<string, ListedAs>): Wire[] {
  return intercept(async (wire, pass) => {
    const answer = await pass();
    if (!wire.query.has("list-type")) return answer;
    const xml = (await answer.text()).replaceAll(/<Contents>.*?<\/Contents>/gs, (contents) => {
      const key = decodeURIComponent(/<Key>(.*?)<\/Key>/s.exec(contents)?.[1] ?? "");
      const change = [...changes].find(([end]) => key.endsWith(`/${end}`))?.[1] ?? {};
      return Object.entries(change).reduce((changed, [name, value]) => {
        const without = changed.replace(new RegExp(`<${name}>.*?</${name}>`, "s"), "");
        return without.replace("</Contents>", `<${name}>${value}</${name}></Contents>`);
      }, contents);
    });
    return new Response(xml, { status: answer.status, headers: { "content-type": "application/xml" } });
  });
}
