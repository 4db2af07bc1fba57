// Every codec there is. A code stands in containers, so it is never given to another kind:
// 1 projection, 2 ternary, 3 rotated, 4 entropy, 5 topk, 6 lowrank, 7 sign, 8 vsa.

import { describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { type Message, open, refuse } from "./container.ts";
import type { CodecName, Kind } from "./kind.ts";
import { entropy } from "./entropy.ts";
import { lowrank } from "./lowrank.ts";
import { projection } from "./projection.ts";
import { rotated } from "./rotated.ts";
import { sign } from "./sign.ts";
import { ternary } from "./ternary.ts";
import { topk } from "./topk.ts";
import { vsa } from "./vsa.ts";

const KINDS: readonly Kind[] = [projection, ternary, rotated, entropy, topk, lowrank, sign, vsa];

/** The kind of this name. */
export function kindOf(name: CodecName): Kind {
  const found = KINDS.find((kind) => kind.name === name);
  if (found !== undefined) return found;
  const names = KINDS.map(({ name }) => `"${name}"`).join(", ");
  throw tritterError("invalid_option", `name must be one of ${names}, got ${describe(name)}`);
}

/** Checks compressed gradients of any kind. Throws `invalid_format`. */
export function read(bytes: Uint8Array): { kind: Kind; message: Message } {
  const message = open(bytes);
  const kind = KINDS.find(({ code }) => code === message.codec);
  if (kind === undefined) {
    refuse(`the codec must be one that this version knows, got number ${message.codec}`);
  }
  if (message.parameters.length !== kind.parameterCount) {
    refuse(
      `${kind.name} must have ${kind.parameterCount} parameters, got ${message.parameters.length}`,
    );
  }
  kind.validate(message);
  return { kind, message };
}
