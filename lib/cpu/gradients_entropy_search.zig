//! Finds the step: quantises a sample of the blocks with steps that come nearer and nearer to the one
//! wanted, and foretells bytes and cosine of the whole.
//!
//! The sample is spread evenly, and what it says of a fine class counts as often as there are blocks
//! of that class among all, whose classes are known exactly. Costs in the trellis are those of
//! the frequencies that the step before has led to.
//!
//! Floor: the quantisation of the sample, some six times; the rest is a few operations a block.

const std = @import("std");
const abi = @import("../abi.zig");
const Blocks = @import("gradients_entropy_blocks.zig").Blocks;
const classes_file = @import("gradients_entropy_classes.zig");
const frequencies_file = @import("gradients_frequencies.zig");
const memory = @import("../memory.zig");
const model_file = @import("gradients_entropy_model.zig");
const table = @import("gradients_entropy_table.zig");

const Costs = table.Costs;
const Fine = classes_file.Fine;
const log2 = frequencies_file.log2;
const fine_count = classes_file.fine_count;
const all_count = classes_file.all_count;

/// Of the gradients, an eighth, within these.
const sample_least = 1 << 16;
const sample_most = 1 << 18;
/// The first looks are at every fourth block of the sample.
const coarse = 4;

/// Everything that is written before the words of a chunk, and what states cost, in bytes.
const chunk_bytes_wide = 104;
const chunk_bytes_narrow = 10;
/// Steps of a chunk from which on every lane has a state of its own.
pub const wide_steps = 512;

pub const Search = struct {
    blocks: *const Blocks,
    /// Places of the sampled blocks, and their values.
    places: []align(memory.alignment) u32,
    values: []align(memory.alignment) f32,
    /// The fine class of every block with the latest step.
    fine: []align(memory.alignment) u8,
    work: *Work,
    /// Whether what is lost is to be foretold too.
    wants_energy: bool,
    cut: classes_file.Cut = .{},
    step: f32 = 1,
    looks: u32 = 0,

    /// Of the latest look: as foretold by it, and, after `plan`, as planned.
    bytes: f64 = 0,
    /// What plans have made of bytes that looks foretold.
    correction: f64 = 1,
    /// What has been written where this search foretold one byte.
    written: f64 = 1,
    /// 1 - cosine^2.
    lost: f64 = 1,

    const Work = struct {
        statistics: [fine_count]Fine,
        costs: [fine_count]Costs,
        active: [table.segment_steps]u32,
        classes: [table.segment_steps]u8,
        quantizers: [table.segment_steps]u32,
        signs: [table.segment_steps]u32,
        levels: [table.segment_steps * table.lanes]u16 align(64),
        transitions: classes_file.Transitions,
        energies: [all_count]f64,
        sampled: [all_count]u32,
    };

    /// `source.sample(places, values)` fetches the values of blocks.
    pub fn init(blocks: *const Blocks, source: anytype, wants_energy: bool) abi.Failure!Search {
        const size = blocks.blockValues();
        const count = @min(blocks.count, std.math.clamp(blocks.length / 8, sample_least, sample_most) / size);
        const places = try memory.alloc(u32, count);
        errdefer memory.free(u32, places);
        const values = try memory.alloc(f32, count * size);
        errdefer memory.free(f32, values);
        const fine = try memory.alloc(u8, blocks.count);
        errdefer memory.free(u8, fine);
        for (places, 0..) |*place, i| place.* = @intCast(placeOf(i, blocks.count, count));
        try source.sample(places, values);
        const work = try memory.alloc(Work, 1);
        for (&work[0].statistics) |*one| {
            one.blocks = 0;
            one.above = 0;
            one.squares = 0;
            one.is_begun = false;
        }
        for (&work[0].costs, 0..) |*one, i| one.* = guessedCosts(i);
        return .{ .blocks = blocks, .places = places, .values = values, .fine = fine, .work = &work[0], .wants_energy = wants_energy };
    }

    pub fn deinit(self: *Search) void {
        memory.free(u32, self.places);
        memory.free(f32, self.values);
        memory.free(u8, self.fine);
        const work: *align(memory.alignment) Work = @alignCast(self.work);
        memory.free(Work, work[0..1]);
    }

    pub fn isWhole(self: *const Search) bool {
        return self.places.len == self.blocks.count;
    }

    /// Of the sample.
    pub fn rootMeanSquare(self: *const Search) f64 {
        return @sqrt(energy(self.values, 1) / @as(f64, @floatFromInt(self.values.len)));
    }

    /// Quantises every `stride`-th block of the sample and foretells the whole from it.
    pub fn look(self: *Search, step: f32, stride: usize) void {
        const work = self.work;
        self.step = step;
        // From here on, so that what is encoded afterwards costs what has been counted.
        for (&work.costs, &work.statistics) |*costs, *fine| {
            if (fine.blocks >= 16 and self.looks < adapting_looks) costs.* = between(costs.*, fittedCosts(fine));
            fine.reset();
        }
        self.looks += 1;
        work.energies = @splat(0);
        work.sampled = @splat(0);
        self.quantize(stride);
        self.weigh(@as(f64, @floatFromInt(self.blocks.count)) * @as(f64, @floatFromInt(stride)) / @as(f64, @floatFromInt(self.places.len)));
    }

    fn quantize(self: *Search, stride: usize) void {
        const work = self.work;
        const blocks = self.blocks;
        const size = blocks.blockValues();
        const inverse = 1 / self.step;
        var path: table.Path = .{
            .values = self.values.ptr,
            .steps = blocks.steps,
            .count = 0,
            .blocks = &work.active,
            .classes = &work.classes,
            .costs = &work.costs,
            .factor = inverse * (1 << table.fraction_bits),
            .states = .{},
            .levels = &work.levels,
            .quantizers = &work.quantizers,
            .signs = &work.signs,
        };
        var i: usize = 0;
        while (i < self.places.len) : (i += stride) {
            const place = self.places[i];
            const class = classes_file.fineClass(blocks.sums[place], blocks.largest[place], place, inverse, blocks.steps, self.cut);
            work.sampled[class] += 1;
            if (self.wants_energy) work.energies[class] += energy(self.values[i * size ..][0..size], inverse);
            if (class < table.class_coded) continue;
            work.active[path.count] = @intCast(i);
            work.classes[path.count] = class - table.class_coded;
            path.count += 1;
            if (path.count * blocks.steps == table.segment_steps) self.follow(&path);
        }
        if (path.count > 0) self.follow(&path);
    }

    /// Runs a path and counts what it has led to.
    fn follow(self: *Search, path: *table.Path) void {
        self.blocks.kernels.trellis(path);
        const work = self.work;
        const size = self.blocks.blockValues();
        for (work.active[0..path.count], work.classes[0..path.count], 0..) |block, class, i| {
            const fine = &work.statistics[class];
            fine.begin();
            for (0..self.blocks.steps) |step| {
                const place = i * self.blocks.steps + step;
                self.tally(fine, self.values[block * size + step * table.lanes ..][0..table.lanes], path.factor, work.levels[place * table.lanes ..][0..table.lanes], work.quantizers[place]);
            }
        }
        path.count = 0;
    }

    fn tally(self: *Search, fine: *Fine, values: *const [table.lanes]f32, factor: f32, step_levels: *const [table.lanes]u16, quantizers: u32) void {
        const floats: @Vector(table.lanes, f32) = values.*;
        const magnitudes: [table.lanes]i32 = @as(@Vector(table.lanes, i32), @intFromFloat(@abs(floats) * @as(@TypeOf(floats), @splat(factor))));
        var most: u16 = 0;
        inline for (0..table.lanes) |lane| {
            const level = step_levels[lane];
            const index = level + (quantizers >> lane & 1) * classes_file.levels;
            most = @max(most, level);
            fine.tallies[lane % 2][index] += Fine.count_one + @as(u64, @intCast(magnitudes[lane]));
        }
        fine.above = @max(fine.above, most + 1);
        if (self.wants_energy) fine.squares += sumSquares(magnitudes);
    }

    /// Sets bytes and lost energy from the statistics; each sampled block stands for `weight`.
    fn weigh(self: *Search, weight: f64) void {
        const work = self.work;
        const size: f64 = @floatFromInt(self.blocks.blockValues());
        var bits: f64 = 0;
        var total: f64 = 0;
        var lost: f64 = work.energies[table.class_zero];
        var all: f64 = 0;
        var active: f64 = 0;
        for (work.sampled, work.energies, 0..) |count, energy_of, class| {
            total += energy_of;
            const blocks: f64 = @floatFromInt(count);
            if (count > 0) bits -= 0.9 * weight * blocks * log2(blocks);
            all += blocks;
            if (class == table.class_kept) bits += weight * blocks * size * 16;
            if (class < table.class_coded or count == 0) continue;
            const fine = &work.statistics[class - table.class_coded];
            var joined: classes_file.Joined = .{};
            joined.add(fine, weight);
            bits += joined.class()[1];
            if (self.wants_energy) lost += fine.distortion();
            active += blocks;
        }
        bits += 0.9 * weight * all * log2(all);
        self.bytes = (bits / 8 + self.chunkBytes(active * weight) + 6) * self.correction;
        self.lost = if (total > 0) lost / total else 0;
    }

    /// What the chunks take beside their symbols, bits and classes.
    fn chunkBytes(self: *const Search, active: f64) f64 {
        const blocks_of_chunk = model_file.chunk_values / self.blocks.blockValues();
        const chunks: f64 = @floatFromInt((self.blocks.count + blocks_of_chunk - 1) / blocks_of_chunk);
        const is_wide = active * @as(f64, @floatFromInt(self.blocks.steps)) >= chunks * wide_steps;
        return chunks * @as(f64, if (is_wide) chunk_bytes_wide else chunk_bytes_narrow);
    }

    /// Classes and frequencies for the latest step; sets `bytes` to what all will take.
    pub fn plan(self: *Search, model: *model_file.Model, map: *classes_file.Map) void {
        const work = self.work;
        const blocks = self.blocks;
        model.steps = blocks.steps;
        model.step = self.step;
        model.exponent = blocks.exponent;
        const inverse = 1 / self.step;
        var counts: [all_count]u32 = @splat(0);
        work.transitions = @splat(@splat(0));
        var before: u8 = table.class_zero;
        const blocks_of_chunk = model_file.chunk_values / blocks.blockValues();
        for (self.fine, blocks.sums, blocks.largest, 0..) |*class, sum, largest, index| {
            class.* = classes_file.fineClass(sum, largest, index, inverse, blocks.steps, self.cut);
            if (index % blocks_of_chunk == 0) before = table.class_zero;
            work.transitions[before][class.*] += 1;
            counts[class.*] += 1;
            before = class.*;
        }
        var weights: [fine_count]f64 = @splat(0);
        var active: f64 = 0;
        for (&weights, counts[table.class_coded..], &work.statistics) |*weight, count, *fine| {
            if (fine.blocks > 0) weight.* = @as(f64, @floatFromInt(count)) / @as(f64, @floatFromInt(fine.blocks));
            active += @floatFromInt(count);
        }
        const bits = classes_file.join(model, &work.statistics, &weights, &work.transitions, map);
        const kept = counts[table.class_kept] * blocks.blockValues() * 2;
        const bytes = (bits / 8 + @as(f64, @floatFromInt(kept)) + self.chunkBytes(active) + 6) * self.written;
        self.correction *= bytes / self.bytes;
        self.bytes = bytes;
    }
};

/// Costs follow frequencies at first and then stay, so that bytes are a function of the step.
const adapting_looks = 6;

/// Half way, so that the costs of rare levels do not run away.
fn between(a: Costs, b: Costs) Costs {
    return .{
        .slope = @divTrunc(a.slope + b.slope, 2),
        .odd = @divTrunc(a.odd + b.odd, 2),
        .zero_even = @divTrunc(a.zero_even + b.zero_even, 2),
        .zero_odd = @divTrunc(a.zero_odd + b.zero_odd, 2),
    };
}

/// Somewhere in the i-th of as many parts of all blocks as are sampled: at no fixed distance, because
/// rows and columns are at one.
fn placeOf(i: usize, blocks: usize, count: usize) usize {
    const from = i * blocks / count;
    const to = (i + 1) * blocks / count;
    const hash = (@as(u64, i) +% 1) *% 0x9e37_79b9_7f4a_7c15;
    return from + @as(usize, @intCast((hash >> 32) * (to - from) >> 32));
}

fn sumSquares(magnitudes: [table.lanes]i32) f64 {
    var total: i64 = 0;
    for (magnitudes) |magnitude| total += @as(i64, magnitude) * magnitude;
    return @floatFromInt(total);
}

fn energy(values: []const f32, inverse: f32) f64 {
    var total: f64 = 0;
    for (values) |value| {
        const scaled: f64 = value * inverse;
        total += scaled * scaled;
    }
    return total;
}

const cost_one = classes_file.lambda * @as(f64, 1 << 2 * table.fraction_bits);

fn costOf(bits: f64, least: f64, most: f64) i16 {
    return @intFromFloat(std.math.clamp(@round(bits * cost_one), least, most));
}

/// Where a search begins. For blocks with small values, frequencies that fall geometrically; for the
/// others, bits of a normal distribution, as slope of a level, odd, zero_even and zero_odd.
fn guessedCosts(class: usize) Costs {
    if (class < first_normal) {
        const mean = frequencies_file.exp2(@as(f64, @floatFromInt(class)) / 2 - 5.75) / 2;
        return costsOf(.{ 0, 0 }, .{ 1, 1 }, -log2(mean / (1 + mean)));
    }
    const row = @min(class - first_normal, normal_bits.len - 1);
    const further: f64 = @floatFromInt(class - first_normal - row);
    const bits = normal_bits[row];
    const slope = bits[0] * frequencies_file.exp2(-further / 2);
    return costsOf(.{ bits[2], bits[3] }, .{ 0, bits[1] - bits[0] }, 2 * slope);
}

const first_normal = 11;
const normal_bits = [_][4]f64{
    .{ 2.890, 1.391, 3.308, 4.929 },
    .{ 1.534, 0.894, 2.015, 3.440 },
    .{ 0.937, 0.624, 1.562, 2.707 },
    .{ 0.602, 0.389, 1.233, 2.427 },
    .{ 0.409, 0.295, 1.206, 2.159 },
    .{ 0.282, 0.196, 1.127, 2.139 },
    .{ 0.196, 0.132, 1.016, 2.0 },
};

/// Zeros of either quantiser cost `zero` bits, level k >= 1 costs `base + slope k`.
fn costsOf(zero: [2]f64, base: [2]f64, slope: f64) Costs {
    return .{
        .slope = costOf(slope / 2, 0, 1024),
        .odd = costOf(base[1] + slope / 2 - base[0], -2048, 2048),
        .zero_even = costOf(zero[0] - base[0], -3000, 3000),
        .zero_odd = costOf(zero[1] - base[0], -3000, 3000),
    };
}

/// The line through the bits of levels from 1 on that errs least, for each quantiser; one slope.
fn fittedCosts(fine: *const Fine) Costs {
    var zero: [2]f64 = @splat(0);
    var mean_bits: [2]f64 = @splat(1);
    var mean_level: [2]f64 = @splat(1);
    var covariance: f64 = 0;
    var variance: f64 = 0;
    for (0..2) |quantizer| {
        const above = @max(2, fine.above);
        var total: f64 = 0;
        for (0..above) |level| total += @floatFromInt(fine.count(quantizer, level));
        // Half a count more for each, so that none is impossible.
        const all = log2(total + 0.5 * @as(f64, @floatFromInt(above)));
        zero[quantizer] = all - log2(@as(f64, @floatFromInt(fine.count(quantizer, 0))) + 0.5);
        var weight: f64 = 0;
        var sum_bits: f64 = 0;
        var sum_levels: f64 = 0;
        var sum_both: f64 = 0;
        var sum_squares: f64 = 0;
        for (1..above) |level| {
            const w = @as(f64, @floatFromInt(fine.count(quantizer, level))) + 0.5;
            const bits = all - log2(w) + 1;
            const k: f64 = @floatFromInt(level);
            weight += w;
            sum_bits += w * bits;
            sum_levels += w * k;
            sum_both += w * k * bits;
            sum_squares += w * k * k;
        }
        mean_bits[quantizer] = sum_bits / weight;
        mean_level[quantizer] = sum_levels / weight;
        covariance += sum_both - sum_bits * sum_levels / weight;
        variance += sum_squares - sum_levels * sum_levels / weight;
    }
    const slope = if (variance > 1e-6) covariance / variance else 4;
    return costsOf(zero, .{ mean_bits[0] - slope * mean_level[0], mean_bits[1] - slope * mean_level[1] }, slope);
}
