// Every codec there is. A code stands in containers, so it is never given to another kind:
// 1 projection, 2 ternary, 3 rotated, 4 entropy, 5 topk, 6 lowrank, 7 sign, 8 vsa.

import { describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { refuse } from "./container.ts";
import type { CodecName, Kind } from "./kind.ts";
import { rotated } from "./rotated.ts";
import { sign } from "./sign.ts";
import { ternary } from "./ternary.ts";

const KINDS: readonly Kind[] = [ternary, rotated, sign];

/** The kind of this name. */
export function kindOf(name: CodecName): Kind {
  const found = KINDS.find((kind) => kind.name === name);
  if (found !== undefined) return found;
  const names = KINDS.map(({ name }) => `"${name}"`).join(", ");
  throw tritterError("invalid_option", `name must be one of ${names}, got ${describe(name)}`);
}

/** The kind that wrote a container. */
export function kindOfCode(code: number): Kind {
  const found = KINDS.find((kind) => kind.code === code);
  return found ?? refuse(`the codec must be one that this version knows, got number ${code}`);
}
