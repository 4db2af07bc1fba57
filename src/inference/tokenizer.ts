// Text to token ids and back, by Hugging Face's JavaScript tokenizers.

import { checkOptions } from "../checks.ts";
import { TritterError, tritterError } from "../errors.ts";
import { filePath, joinPath, readJsonObject } from "../formats/mapped_file.ts";
import { checkTokens, createStreamDecoder, type StreamDecoder } from "./stream_decoder.ts";

/** What is used of the package; its own types are not at hand when this module comes from a URL. */
interface Backend {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: unknown[] };
  decode(
    ids: number[],
    options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean },
  ): string;
  id_to_token(id: number): string | undefined;
  token_to_id(token: string): number | undefined;
}

type BackendClass = new (tokenizer: object, config: object) => Backend;

/** What only this module can pass to the constructor: at run time nothing else makes it private. */
const KEY = Symbol("Tokenizer");

let refusesBos: (tokenizer: Tokenizer) => boolean;

/**
 * Returns the id that a text begins with; `fallback`, the model's own, counts where
 * tokenizer_config.json is missing or says nothing. For `generate`, not for users.
 */
export function firstTokenId(tokenizer: Tokenizer, fallback: number | null): number | null {
  return refusesBos(tokenizer) ? null : tokenizer.bosTokenId ?? fallback;
}

/**
 * Converts text to token ids and token ids to text.
 *
 * It is read from `tokenizer.json` and `tokenizer_config.json` and runs on the npm package
 * `@huggingface/tokenizers`, which is loaded only when a tokenizer is.
 *
 * @example
 * ```ts
 * import { Tokenizer } from "tritter-accel";
 *
 * const tokenizer = await Tokenizer.load("examples/models/bitnet-jargon");
 * const ids = tokenizer.encode("A kluge is ");
 * console.log(tokenizer.decode(ids)); // "A kluge is "
 * ```
 */
export class Tokenizer {
  static {
    refusesBos = (tokenizer) => tokenizer.#refusesBos;
  }

  /**
   * The id that texts begin with, where tokenizer_config.json asks for one.
   *
   * `generate` puts it in front; where that file names none, it takes `bos_token_id` of config.json.
   */
  readonly bosTokenId: number | null;
  #backend: Backend;
  #refusesBos: boolean;

  private constructor(key: symbol, backend: Backend, config: Record<string, unknown>) {
    if (key !== KEY) throw tritterError("invalid_type", "Tokenizer is made by Tokenizer.load");
    this.#backend = backend;
    this.#refusesBos = config.add_bos_token === false;
    const bos = this.#refusesBos ? null : tokenContent(config.bos_token);
    this.bosTokenId = bos === null ? null : backend.token_to_id(bos) ?? null;
  }

  /**
   * Loads the tokenizer of a model directory.
   *
   * Throws `io` if there is no tokenizer.json, `invalid_format` if it is damaged, `unsupported` if
   * the npm package cannot be imported.
   *
   * @example
   * ```ts
   * import { Tokenizer } from "tritter-accel";
   *
   * const tokenizer = await Tokenizer.load("examples/models/bitnet-jargon");
   * console.log(tokenizer.bosTokenId); // 0
   * ```
   */
  static async load(directory: string | URL): Promise<Tokenizer> {
    const path = filePath(directory, "directory");
    const json = readJsonObject(joinPath(path, "tokenizer.json"));
    let config: Record<string, unknown> = {};
    try {
      config = readJsonObject(joinPath(path, "tokenizer_config.json"));
    } catch (error) {
      if (!(error instanceof TritterError && error.code === "io")) throw error;
    }
    return await Tokenizer.fromJson(json, config);
  }

  /**
   * Builds a tokenizer from the parsed contents of tokenizer.json and tokenizer_config.json.
   *
   * @example
   * ```ts
   * import { readFile } from "node:fs/promises";
   * import { Tokenizer } from "tritter-accel";
   *
   * const path = "examples/models/bitnet-jargon/tokenizer.json";
   * const tokenizer = await Tokenizer.fromJson(JSON.parse(await readFile(path, "utf8")));
   * console.log(tokenizer.encode("foo"));
   * ```
   */
  static async fromJson(
    tokenizer: Record<string, unknown>,
    config: Record<string, unknown> = {},
  ): Promise<Tokenizer> {
    for (const [value, name] of [[tokenizer, "tokenizer"], [config, "config"]] as const) {
      if (typeof value !== "object" || value === null || Array.isArray(value)) {
        throw tritterError("invalid_type", `${name} must be an object`);
      }
    }
    const Backend = await importBackend();
    try {
      return new Tokenizer(KEY, new Backend(tokenizer, config), config);
    } catch (cause) {
      throw tritterError("invalid_format", `tokenizer.json must describe a tokenizer: ${cause}`, {
        cause,
      });
    }
  }

  /**
   * Returns the token ids of a text.
   *
   * `addSpecialTokens` (default: true) adds those that tokenizer.json asks for, where it does.
   *
   * @example
   * ```ts
   * import { Tokenizer } from "tritter-accel";
   *
   * const tokenizer = await Tokenizer.load("examples/models/bitnet-jargon");
   * console.log(tokenizer.encode("The hacker ")); // [ 582, 617, 222 ]
   * ```
   */
  encode(text: string, options?: { addSpecialTokens?: boolean | undefined }): number[] {
    if (typeof text !== "string") {
      throw tritterError("invalid_type", `text must be a string, got ${typeof text}`);
    }
    const { addSpecialTokens = true } = checkOptions(options, "options");
    const { ids } = this.#backend.encode(text, { add_special_tokens: addSpecialTokens });
    for (const id of ids) {
      if (!Number.isInteger(id)) {
        throw tritterError("invalid_value", "text must consist of tokens of the vocabulary");
      }
    }
    return ids as number[];
  }

  /**
   * Returns the text of token ids, exactly as the tokens spell it; unknown ids give nothing.
   *
   * `skipSpecialTokens` (default: true) leaves out tokens like the one that ends a text. Bytes that
   * are not UTF-8 become U+FFFD.
   *
   * @example
   * ```ts
   * import { Tokenizer } from "tritter-accel";
   *
   * const tokenizer = await Tokenizer.load("examples/models/bitnet-jargon");
   * console.log(tokenizer.decode([582, 617, 222])); // "The hacker "
   * ```
   */
  decode(
    ids: readonly number[] | Uint32Array | Int32Array,
    options?: { skipSpecialTokens?: boolean | undefined },
  ): string {
    const tokens = checkTokens(ids, "ids");
    const { skipSpecialTokens = true } = checkOptions(options, "options");
    // The package fails on ids that it does not know; models pad their vocabulary with such.
    const known = tokens.filter((id) => this.#backend.id_to_token(id) !== undefined);
    if (known.length === 0) return "";
    return this.#backend.decode(known, {
      skip_special_tokens: skipSpecialTokens,
      clean_up_tokenization_spaces: false,
    });
  }

  /**
   * Returns a decoder for token ids that arrive one by one, after those of `before`.
   *
   * @example
   * ```ts
   * import { Tokenizer } from "tritter-accel";
   *
   * const tokenizer = await Tokenizer.load("examples/models/bitnet-jargon");
   * const decoder = tokenizer.stream();
   * let text = "";
   * for (const id of tokenizer.encode("naïve 🙂")) text += decoder.push(id);
   * console.log(text + decoder.finish());
   * ```
   */
  stream(before?: readonly number[] | Uint32Array | Int32Array): StreamDecoder {
    return createStreamDecoder((ids) => this.decode(ids), before);
  }
}

/** A token of tokenizer_config.json is a string, or an object with the string in `content`. */
function tokenContent(token: unknown): string | null {
  const content = typeof token === "object" && token !== null && "content" in token
    ? token.content
    : token;
  return typeof content === "string" ? content : null;
}

let backend: Promise<BackendClass> | undefined;

function importBackend(): Promise<BackendClass> {
  backend ??= importFirst().catch((error) => {
    backend = undefined;
    throw error;
  });
  return backend;
}

async function importFirst(): Promise<BackendClass> {
  try {
    return (await importPackage() as { Tokenizer: BackendClass }).Tokenizer;
  } catch (cause) {
    throw tritterError(
      "unsupported",
      `Text needs the npm package @huggingface/tokenizers, which could not be imported: ${cause}`,
      { cause },
    );
  }
}

/**
 * Its plain name is found where there is a node_modules folder, and in packages of npm, which may use no
 * other; Deno finds the npm: name even when this module comes from a URL.
 */
async function importPackage(): Promise<unknown> {
  try {
    return await import("@huggingface/tokenizers");
  } catch (error) {
    if (!("Deno" in globalThis)) throw error;
    // deno-lint-ignore no-import-prefix
    // @ts-ignore: TypeScript outside Deno does not know npm: names.
    return await import("npm:@huggingface/tokenizers@0.2.0");
  }
}
