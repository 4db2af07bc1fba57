/** One measurement of the report; the suites return lists of them. */
export interface Row {
  /** Group of the report that the row belongs to, such as "matmul". */
  suite: string;
  /** What was measured, without the subject: "4096 x 4096, batch 1, int8". */
  name: string;
  /** Who was measured: "tritter-accel" or the name of a peer. */
  subject: string;
  /** Runtime and its version: "Bun 1.4.5". */
  runtime: string;
  /** Instruction-set tier of the library during the measurement. */
  isa: string;
  /** Threads that the subject used. */
  threads: number;
  /** Rows and columns of the weights. */
  shape?: readonly [number, number];
  batch?: number;
  activations?: "int8" | "f32";
  /** Of single calls. */
  median_us: number;
  p10_us: number;
  p90_us: number;
  /** What the median amounts to, such as 1203 "GOP/s" or 148 "GB/s". */
  rate?: number;
  rate_unit?: string;
  /** The measured limit that the rate is compared with, in `limit_unit`. */
  limit?: number;
  limit_unit?: string;
  /** Share of the limit: 0.9 is 90 %. */
  share?: number;
  /** The peer that `ratio` compares with: its time over ours. */
  peer?: string;
  ratio?: number;
  /** What the share (if there is no ratio: otherwise the ratio) must reach, and what it aims at. */
  must?: number;
  aim?: number;
  note?: string;
}
