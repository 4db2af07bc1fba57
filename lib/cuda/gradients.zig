//! The codecs of gradients on a device: gradients stay there, payloads travel to and from the host.
//!
//! The layouts of payloads, and the lengths that follow from them, are those of lib/cpu/gradients_*.zig.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const blocks_of = @import("../cpu/gradients_blocks.zig");
const bundle = @import("../cpu/gradients_bundle.zig");
const finite = @import("../cpu/gradients_finite.zig");
const floats = @import("floats.zig");
const structures = @import("gradients_arguments.zig");
const kernels = @import("kernels.zig");
const projection = @import("../cpu/gradients_projection.zig");
const rotated = @import("../cpu/gradients_rotated.zig");
const sign = @import("../cpu/gradients_sign.zig");
const ternary = @import("../cpu/gradients_ternary.zig");

const Buffer = backend.Buffer;
const divideUp = kernels.divideUp;

/// How many gradients a tensor holds; codecs count them in 32 bits.
pub fn countOf(gradients: *const Buffer) abi.Failure!u32 {
    const count = std.math.cast(u32, gradients.bytes / 4) orelse 0;
    if (count == 0 or gradients.bytes % 4 != 0) return abi.fail(
        error.InvalidLength,
        "Expected 1 to {d} gradients, got {d} bytes of them",
        .{ std.math.maxInt(u32), gradients.bytes },
    );
    return count;
}

fn expectBytes(payload: []const u8, bytes: u64) abi.Failure!void {
    if (payload.len != bytes) return abi.fail(error.InvalidLength, "Expected the payload to have {d} elements, got {d}", .{ bytes, payload.len });
}

/// Memory of a call: the payload on the device, what else a kernel writes, and what it found.
pub const Work = struct {
    stream: *backend.Stream,
    gradients: *Buffer,
    memory: *Buffer,
    values: u64,
    payload: u64,
    more: u64,
    found: u64,

    pub fn init(gradients: *Buffer, payload_bytes: u64, more_bytes: u64) abi.Failure!Work {
        const device = gradients.device;
        const stream = try device.stream();
        const more_at = std.mem.alignForward(u64, payload_bytes, 256);
        const found_at = more_at + std.mem.alignForward(u64, more_bytes, 256);
        const memory: *Buffer = try .create(device, found_at + found_bytes);
        errdefer memory.release();
        const pointer = try memory.use(stream);
        try device.check(device.driver.cuMemsetD8Async(pointer + found_at, 0, found_bytes, stream.handle), "clear memory");
        return .{
            .stream = stream,
            .gradients = gradients,
            .memory = memory,
            .values = try gradients.use(stream),
            .payload = pointer,
            .more = pointer + more_at,
            .found = pointer + found_at,
        };
    }

    pub fn deinit(self: *const Work) void {
        self.memory.release();
    }

    /// What kernels have found, when they are done.
    pub fn findings(self: *const Work) abi.Failure!u32 {
        var found: u32 = undefined;
        try self.stream.download(self.found, std.mem.asBytes(&found));
        return found;
    }

    pub fn expectFinite(self: *const Work) abi.Failure!void {
        if (try self.findings() & not_finite != 0) return refuse(self.gradients);
    }

    /// Hands over the payload, unless gradients were bad.
    fn finish(self: *const Work, payload: []u8) abi.Failure!void {
        const found = try self.findings();
        if (found & not_finite != 0) return refuse(self.gradients);
        if (found & too_large != 0) return projection.refuseLarge();
        return self.stream.download(self.payload, payload);
    }

    fn expectTrits(self: *const Work) abi.Failure!void {
        if (try self.findings() & bad_trits != 0) return finite.refuseTrits();
    }
};

const found_bytes = 16;

/// See gradients.cuh.
const not_finite = 1;
const too_large = 2;
const bad_trits = 4;
pub const bad_chunk = 8;

/// The failure that names the first gradient that is not finite.
pub fn refuse(gradients: *Buffer) abi.Failure {
    const index = (try floats.findNotFinite(gradients)) orelse 0;
    var value: f32 = undefined;
    const stream = try gradients.device.stream();
    try stream.download(try gradients.use(stream) + 4 * index, std.mem.asBytes(&value));
    return abi.fail(error.InvalidValue, "Expected finite gradients, got {d} at index {d}", .{ value, index });
}

fn blocksFor(count: u64, at_once: u64) u32 {
    return @intCast(divideUp(count, at_once));
}

// ---- sign ----

/// See gradients_blocks.cu.
const step_values = 512;
const steps_at_once = 16;

fn signArguments(work: *const Work, sizes: sign.Sizes) structures.Scaled {
    return .{
        .gradients = work.values,
        .scales = work.payload,
        .codes = work.payload + 4 * sizes.blocks,
        .sums = work.more,
        .found = work.found,
        .count = @intCast(sizes.count),
        .block = @intCast(sizes.block),
        .blocks = @intCast(sizes.blocks),
        .rule = @intCast(divideUp(@min(sizes.block, sizes.count), step_values)),
    };
}

pub fn encodeSign(gradients: *Buffer, block: u32, payload: []u8) abi.Failure!void {
    const sizes: sign.Sizes = try .init(try countOf(gradients), block);
    try expectBytes(payload, sizes.bytes);
    const steps = divideUp(@min(sizes.block, sizes.count), step_values);
    const is_apart = steps > steps_at_once;
    const work: Work = try .init(gradients, sizes.bytes, if (is_apart) 8 * steps * sizes.blocks else 0);
    defer work.deinit();
    const arguments = signArguments(&work, sizes);
    const at_once = if (is_apart) steps_at_once else steps_at_once / steps;
    const units = if (is_apart) steps * sizes.blocks else sizes.blocks;
    try work.stream.launch(.gradients_sign_encode, .{ .blocks = blocksFor(units, at_once), .threads = 256 }, arguments);
    if (is_apart) try work.stream.launch(.gradients_sign_scales, .{ .blocks = blocksFor(sizes.blocks, 64), .threads = 64 }, arguments);
    return work.finish(payload);
}

pub fn decodeSign(payload: []const u8, block: u32, gradients: *Buffer) abi.Failure!void {
    const sizes: sign.Sizes = try .init(try countOf(gradients), block);
    try expectBytes(payload, sizes.bytes);
    try finite.expectScales(payload[0 .. 4 * sizes.blocks]);
    const work: Work = try .init(gradients, sizes.bytes, 0);
    defer work.deinit();
    try work.stream.upload(work.payload, payload);
    return work.stream.launch(.gradients_sign_decode, .{ .blocks = blocksFor(sizes.count, 4096), .threads = 256 }, signArguments(&work, sizes));
}

// ---- ternary ----

fn ternaryArguments(work: *const Work, sizes: ternary.Sizes, method: u32) structures.Scaled {
    return .{
        .gradients = work.values,
        .scales = work.payload,
        .codes = work.payload + 4 * sizes.blocks,
        .found = work.found,
        .count = @intCast(sizes.count),
        .block = @intCast(sizes.block),
        .blocks = @intCast(sizes.blocks),
        .rule = method,
    };
}

pub fn encodeTernary(gradients: *Buffer, block: u32, method: u32, payload: []u8) abi.Failure!void {
    const sizes: ternary.Sizes = try .init(try countOf(gradients), block);
    try expectBytes(payload, sizes.bytes);
    if (method > 2) return abi.fail(error.InvalidOption, "Expected a method from 0 to 2, got {d}", .{method});
    const work: Work = try .init(gradients, sizes.bytes, 0);
    defer work.deinit();
    try work.stream.launch(.gradients_ternary_encode, .{ .blocks = blocksFor(sizes.blocks, 8), .threads = 256 }, ternaryArguments(&work, sizes, method));
    return work.finish(payload);
}

pub fn decodeTernary(payload: []const u8, block: u32, gradients: *Buffer) abi.Failure!void {
    const sizes: ternary.Sizes = try .init(try countOf(gradients), block);
    try expectBytes(payload, sizes.bytes);
    try finite.expectScales(payload[0 .. 4 * sizes.blocks]);
    const work: Work = try .init(gradients, sizes.bytes, 0);
    defer work.deinit();
    try work.stream.upload(work.payload, payload);
    try work.stream.launch(.gradients_ternary_decode, .{ .blocks = blocksFor(sizes.count, 16 * ternary.chunk), .threads = 256 }, ternaryArguments(&work, sizes, 0));
    return work.expectTrits();
}

// ---- rotated ----

/// What both codecs with a transform are told of their blocks.
fn rotation(work: *const Work, blocks: *const blocks_of.Blocks, seed: u64) structures.Rotation {
    var result: structures.Rotation = .{
        .gradients = work.values,
        .payload = work.payload,
        .found = work.found,
        .seed = seed,
        .full = @intCast(blocks.full),
        .blocks = @intCast(blocks.len),
        .pieces = undefined,
    };
    for (blocks.full..blocks.len) |index| {
        const block = blocks.at(index);
        result.pieces[index - blocks.full] = .{
            .start = @intCast(block.start),
            .count = @intCast(block.count),
            .size = @intCast(block.size),
            .codes = 0,
            .factor = 0,
        };
    }
    return result;
}

fn rotatedArguments(work: *const Work, layout: *const rotated.Layout, seed: u64) structures.Rotation {
    var arguments = rotation(work, &layout.blocks, seed);
    for (layout.blocks.full..layout.blocks.len) |index|
        arguments.pieces[index - layout.blocks.full].codes = @intCast(layout.codes(index));
    return arguments;
}

pub fn encodeRotated(gradients: *Buffer, levels: u32, seed: u64, payload: []u8) abi.Failure!void {
    const layout: rotated.Layout = try .init(try countOf(gradients), levels);
    try expectBytes(payload, layout.bytes);
    const work: Work = try .init(gradients, layout.bytes, 0);
    defer work.deinit();
    const arguments = rotatedArguments(&work, &layout, seed);
    const kernel: kernels.Kernel = switch (levels) {
        2 => .gradients_rotated_encode_2,
        3 => .gradients_rotated_encode_3,
        4 => .gradients_rotated_encode_4,
        8 => .gradients_rotated_encode_8,
        else => .gradients_rotated_encode_16,
    };
    try work.stream.launchOf(kernel, .{ .blocks = arguments.blocks, .threads = 256 }, &arguments);
    return work.finish(payload);
}

pub fn decodeRotated(payload: []const u8, levels: u32, seed: u64, gradients: *Buffer) abi.Failure!void {
    const layout: rotated.Layout = try .init(try countOf(gradients), levels);
    try expectBytes(payload, layout.bytes);
    try finite.expectScales(payload[0 .. 4 * layout.blocks.len]);
    const work: Work = try .init(gradients, layout.bytes, 0);
    defer work.deinit();
    try work.stream.upload(work.payload, payload);
    const arguments = rotatedArguments(&work, &layout, seed);
    const kernel: kernels.Kernel = switch (levels) {
        2 => .gradients_rotated_decode_2,
        3 => .gradients_rotated_decode_3,
        4 => .gradients_rotated_decode_4,
        8 => .gradients_rotated_decode_8,
        else => .gradients_rotated_decode_16,
    };
    try work.stream.launchOf(kernel, .{ .blocks = arguments.blocks, .threads = 256 }, &arguments);
    if (levels == 3) return work.expectTrits();
}

// ---- projection ----

fn projectionArguments(work: *const Work, blocks: *const blocks_of.Blocks, samples: u64, seed: u64, factor: f32) structures.Rotation {
    var arguments = rotation(work, blocks, seed);
    arguments.places = blocks.places;
    arguments.kept = samples;
    arguments.whole = blocks.places / samples;
    arguments.rest = blocks.places % samples;
    arguments.inverse = 1 / @as(f64, @floatFromInt(samples));
    arguments.factor = factor * projection.norm(4096);
    for (blocks.full..blocks.len) |index| {
        const piece = &arguments.pieces[index - blocks.full];
        piece.factor = factor * projection.norm(piece.size);
    }
    return arguments;
}

/// How many samples a payload has: at least one, and no more than there are gradients.
fn samplesOf(payload: []const u8, count: u32) abi.Failure!u64 {
    if (payload.len % 4 != 0 or payload.len == 0 or payload.len / 4 > count)
        return abi.fail(error.InvalidLength, "Expected 1 to {d} samples of 4 bytes, got {d} bytes", .{ count, payload.len });
    return payload.len / 4;
}

pub fn encodeProjection(gradients: *Buffer, seed: u64, factor: f32, payload: []u8) abi.Failure!void {
    const count = try countOf(gradients);
    const samples = try samplesOf(payload, count);
    if (!std.math.isFinite(factor)) return abi.fail(error.InvalidOption, "Expected a finite factor, got {d}", .{factor});
    const blocks: blocks_of.Blocks = .init(count, .exact);
    const work: Work = try .init(gradients, payload.len, 0);
    defer work.deinit();
    const arguments = projectionArguments(&work, &blocks, samples, seed, factor);
    try work.stream.launch(.gradients_projection_encode, .{ .blocks = arguments.blocks, .threads = 256 }, arguments);
    return work.finish(payload);
}

pub fn decodeProjection(payload: []const u8, seed: u64, is_weighted: bool, gradients: *Buffer) abi.Failure!void {
    const count = try countOf(gradients);
    const samples = try samplesOf(payload, count);
    try finite.expectSamples(payload);
    const blocks: blocks_of.Blocks = .init(count, .exact);
    const work: Work = try .init(gradients, payload.len, 0);
    defer work.deinit();
    try work.stream.upload(work.payload, payload);
    var arguments = projectionArguments(&work, &blocks, samples, seed, 1);
    arguments.option = @intFromBool(is_weighted);
    return work.stream.launch(.gradients_projection_decode, .{ .blocks = arguments.blocks, .threads = 256 }, arguments);
}

// ---- vsa ----

fn bundleArguments(work: *const Work, layout: *const bundle.Layout, seed: u64) structures.Rotation {
    var arguments = rotation(work, &layout.blocks, seed);
    arguments.places = layout.count;
    arguments.kept = layout.dim;
    arguments.option = @intCast(layout.members);
    for (layout.blocks.full..layout.blocks.len) |index|
        arguments.pieces[index - layout.blocks.full].codes = @intCast(layout.codesAt(index));
    return arguments;
}

/// A block of threads for each block of a member, as far as a grid's second axis reaches.
fn membersShape(arguments: *const structures.Rotation) backend.Launch {
    return .{ .blocks = arguments.blocks, .blocks_y = @min(arguments.option, 65535), .threads = 256 };
}

pub fn encodeVsa(gradients: *Buffer, dim: u32, seed: u64, payload: []u8) abi.Failure!void {
    const layout: bundle.Layout = try .init(try countOf(gradients), dim);
    try expectBytes(payload, layout.bytes);
    const work: Work = try .init(gradients, layout.bytes, 0);
    defer work.deinit();
    const arguments = bundleArguments(&work, &layout, seed);
    try work.stream.launch(.gradients_bundle_encode, .{ .blocks = arguments.blocks, .threads = 256 }, arguments);
    try work.stream.launch(.gradients_bundle_scales, membersShape(&arguments), arguments);
    return work.finish(payload);
}

pub fn decodeVsa(payload: []const u8, dim: u32, seed: u64, gradients: *Buffer) abi.Failure!void {
    const layout: bundle.Layout = try .init(try countOf(gradients), dim);
    try expectBytes(payload, layout.bytes);
    try finite.expectScales(payload[0 .. 4 * layout.members * layout.blocks.len]);
    const work: Work = try .init(gradients, layout.bytes, 0);
    defer work.deinit();
    try work.stream.upload(work.payload, payload);
    const arguments = bundleArguments(&work, &layout, seed);
    try work.stream.launch(.gradients_bundle_decode, membersShape(&arguments), arguments);
    return work.expectTrits();
}
