import * as z from "zod";

/** Values by names of the caller's own. The one name that a record of zod's leaves out in silence is refused. */
export const namedValues = <N extends z.ZodType<string, string>, V extends z.ZodType>(names: N, values: V) =>
  z.preprocess(
    (given, ctx) => {
      if (typeof given === "object" && given !== null && Object.hasOwn(given, "__proto__")) {
        const message = "is a name that JSON readers lose; choose another";
        ctx.addIssue({ code: "custom", path: ["__proto__"], message });
      }
      return given;
    },
    z.record(names, values),
  );
