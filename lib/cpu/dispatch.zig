//! The tiers in order of preference, and the choice among them: the best that the processor AND the
//! operating system support, or the one that TRITTER_FORCE_ISA names. Made once, on first use.

const std = @import("std");
const builtin = @import("builtin");
const abi = @import("../abi.zig");
const features = @import("features.zig");
const sync = @import("../sync.zig");
const table = @import("table.zig");

pub const Tier = struct {
    name: []const u8,
    kernels: *const table.Kernels,
    isSupported: *const fn () bool,
};

fn kernelsOf(comptime name: []const u8) *const table.Kernels {
    return @extern(*const table.Kernels, .{ .name = "tritter_kernels_" ++ name, .visibility = .hidden });
}

pub const tiers = switch (builtin.cpu.arch) {
    .x86_64 => [_]Tier{
        .{ .name = "avx512", .kernels = kernelsOf("avx512"), .isSupported = features.hasAvx512 },
        .{ .name = "avx2", .kernels = kernelsOf("avx2"), .isSupported = features.hasAvx2 },
        .{ .name = "x86_64", .kernels = kernelsOf("x86_64"), .isSupported = features.always },
    },
    .aarch64 => [_]Tier{
        .{ .name = "neon", .kernels = kernelsOf("neon"), .isSupported = features.hasDotProduct },
        .{ .name = "aarch64", .kernels = kernelsOf("aarch64"), .isSupported = features.always },
    },
    else => @compileError("no kernels for this architecture"),
};

var chosen: std.atomic.Value(usize) = .init(not_chosen);
const not_chosen = std.math.maxInt(usize);

/// A name in TRITTER_FORCE_ISA that cannot be used must not be silently ignored: every call that
/// computes reports it until `force` is called with a good one.
var environment_error: std.atomic.Value(bool) = .init(false);

pub fn active() abi.Failure!*const Tier {
    var index = chosen.load(.acquire);
    if (index == not_chosen) index = choose();
    if (environment_error.load(.acquire)) return environmentFailure();
    return &tiers[index];
}

pub fn kernels() abi.Failure!*const table.Kernels {
    return (try active()).kernels;
}

fn choose() usize {
    var index: usize = best();
    if (forcedName()) |name| {
        if (indexOf(name)) |found| {
            index = found;
        } else {
            environment_error.store(true, .release);
        }
    }
    chosen.store(index, .release);
    return index;
}

fn best() usize {
    for (tiers, 0..) |tier, index| {
        if (tier.isSupported()) return index;
    }
    unreachable; // The last tier is always supported.
}

fn forcedName() ?[]const u8 {
    const value = std.c.getenv("TRITTER_FORCE_ISA") orelse return null;
    const name = std.mem.span(value);
    return if (name.len == 0) null else name;
}

fn environmentFailure() abi.Failure {
    const name = forcedName() orelse "";
    return abi.fail(
        error.InvalidOption,
        "Expected TRITTER_FORCE_ISA to name a tier that this machine has, got \"{s}\"",
        .{name[0..@min(name.len, 40)]},
    );
}

fn indexOf(name: []const u8) ?usize {
    for (tiers, 0..) |tier, index| {
        if (std.mem.eql(u8, tier.name, name) and tier.isSupported()) return index;
    }
    return null;
}

/// Switches the tier of the whole process; for tests and comparisons.
pub fn force(name: []const u8) abi.Failure!void {
    const index = indexOf(name) orelse return abi.fail(
        error.InvalidOption,
        "Expected the name of a tier that this machine has, got \"{s}\"",
        .{name[0..@min(name.len, 40)]},
    );
    chosen.store(index, .release);
    environment_error.store(false, .release);
}
