// Trains a small BitNet on the Jargon File, exports it, loads it again and lets it write.
//
//   bun examples/train_bitnet.ts [--output FOLDER] [--resume] [--settings FILE] [--device NAME] [--quick]
//   deno run --allow-ffi --allow-run=apt-get,dpkg-deb --allow-env --allow-read --allow-write \
//     examples/train_bitnet.ts [--output FOLDER] [--resume] [--settings FILE] [--device NAME] [--quick]
//
// Takes up to half an hour on two cores, or seconds on a GPU (--device cuda); --quick takes seconds and only learns one batch by heart. The
// first run downloads the text from Debian's archive, which needs apt-get and dpkg-deb but not root.
// Ctrl-C ends it with a checkpoint; --resume goes on from the last one, whatever ended the run.
// On the CPU, --dump-gradients keeps gradients of steps 50, 500 and 1500 in the output folder; those of the default
// settings are in test/fixtures/gradients.

import { mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import {
  type Device,
  exportModel,
  loadModel,
  loadTraining,
  TokenDataset,
  type TrainingOverrides,
  TritterError,
} from "tritter-accel";
import { dumpGradients } from "./train_bitnet/gradients.ts";
import { fetchText, type JargonData, loadData } from "./train_bitnet/jargon.ts";

/** What must be reached on the validation rows, in nats per token. */
const GOAL = 4.3;
/** What one batch must come to when it is learnt by heart. */
const QUICK_GOAL = 0.5;
const DUMPED_STEPS = [50, 500, 1500];

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const REFERENCE = here("./models/bitnet-jargon");

const say = (line: string) => process.stderr.write(`${line}\n`);

function readOptions() {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      output: { type: "string" },
      settings: { type: "string" },
      device: { type: "string", default: "cpu" },
      resume: { type: "boolean", default: false },
      "dump-gradients": { type: "boolean", default: false },
    },
  });
  const kind = values.quick ? "quick" : "jargon";
  return {
    ...values,
    output: values.output ?? join(tmpdir(), `train_bitnet-${kind}-${process.pid}`),
    settings: values.settings ?? here(`./train_bitnet/${kind}.yaml`),
    goal: values.quick ? QUICK_GOAL : GOAL,
  };
}

type Options = ReturnType<typeof readOptions>;

/** The rows that are learnt by heart are tested with, too. */
function oneBatch({ rows, tokenizer }: JargonData): JargonData {
  const few = rows.slice(0, 4).map((row) => row.slice(0, 64));
  const data = TokenDataset.fromRows(few);
  return { data, validation: data, tokenizer, rows: few };
}

async function prepare({ quick, output, settings, resume, ...options }: Options) {
  const all = await loadData(await fetchText(), REFERENCE);
  const jargon = quick ? oneBatch(all) : all;
  const stop = new AbortController();
  process.once("SIGINT", () => stop.abort());
  const overrides: TrainingOverrides = {
    data: jargon.data,
    validation: jargon.validation,
    signal: stop.signal,
    resume,
    checkpointDirectory: join(output, "checkpoints"),
    metricsFile: join(output, "metrics.jsonl"),
    curveFile: join(output, "curve.svg"),
    progress: true,
  };
  if (options["dump-gradients"]) {
    mkdirSync(output, { recursive: true });
    overrides.hooks = [dumpGradients(DUMPED_STEPS, output)];
  }
  const device = options.device as Device;
  return { jargon, ...await loadTraining(settings, { ...overrides, device }) };
}

/** Loads what was exported, and compares it with what was trained. */
async function checkExport(directory: string, rows: JargonData["rows"], loss: number) {
  using model = await loadModel(directory);
  const exported = rows.reduce((sum, row) => sum + model.nll([...row]), 0) / rows.length;
  say(`Exported to ${directory}: ${(model.memoryBytes / 1e6).toFixed(1)} MB in memory`);
  console.log(`Loss of the exported model: ${exported.toFixed(4)} nats per token`);
  // The sums of the cross-entropy are rounded in another order.
  if (Math.abs(exported - loss) > 1e-3) {
    throw new Error(`the exported model must have the loss ${loss}, got ${exported}`);
  }
  const prompt = "A hacker is ";
  let text = prompt;
  const request = { maxTokens: 60, temperature: 0.7, topP: 0.9, seed: 1 };
  for await (const token of model.generate(prompt, request)) text += token.text;
  console.log(`\n${text}\n`);
}

async function main(): Promise<void> {
  const options = readOptions();
  const { jargon, model, trainer } = await prepare(options);
  const { rows, tokens } = jargon.data;
  say(`${(model.parameterCount / 1e6).toFixed(1)} M parameters, ${tokens} tokens in ${rows} rows`);
  say(`Everything is written to ${options.output}`);
  const result = await trainer.train();
  if (result.aborted) {
    say(`Ended at step ${result.steps}; go on with --resume --output ${options.output}`);
    return;
  }
  const loss = result.validationLoss!;
  const minutes = (result.seconds / 60).toFixed(1);
  console.log(
    `Validation loss ${loss.toFixed(4)} nats per token after ${result.steps} steps, ` +
      `${(result.tokens / 1e6).toFixed(2)} M tokens, ${minutes} min`,
  );
  const directory = join(options.output, "model");
  exportModel(model, directory, { tokenizer: REFERENCE });
  await checkExport(directory, jargon.rows, loss);
  if (loss > options.goal) {
    throw new Error(`the loss must be at most ${options.goal}, got ${loss.toFixed(4)}`);
  }
}

try {
  await main();
} catch (error) {
  // What a user can cause, a missing file or a wrong option, and what is thrown here need no stack trace.
  const isUsage = error instanceof TypeError && "code" in error &&
    String(error.code).startsWith("ERR_PARSE_ARGS");
  const isPlain = error instanceof Error && error.constructor === Error;
  if (!isUsage && !isPlain && !(error instanceof TritterError)) throw error;
  console.error(`error: ${(error as Error).message}`);
  process.exitCode = 1;
}
