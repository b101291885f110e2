import { createTokens, type Tokens } from "../core/capability/token.ts";
import type { Config } from "./config.ts";
import { hkdf, timingSafeEqual, webHmac } from "./web-hmac.ts";

const made = new WeakMap<Env, Tokens>();

/** The minting and checking of tokens: once per isolate each key is derived and each token's signature checked. */
export function tokensOf(env: Env, config: Config): Tokens {
  const known = made.get(env);
  if (known !== undefined) return known;
  const tokens = createTokens({ hmacKey: webHmac.hmacKey, hkdf, timingSafeEqual }, config.keys);
  made.set(env, tokens);
  return tokens;
}
