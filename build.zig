//! What is built:
//!   zig build                     zig-out/lib/<library> for this machine
//!   zig build -Dplatform=NAME     the same for linux-x64, linux-x64-musl, linux-arm64, darwin-arm64
//!                                 or windows-x64
//!   zig build test                unit tests of the native code, every tier this machine has
//!   zig build test-aarch64        the same for aarch64, run by qemu-aarch64-static
//!   zig build test-windows        the same for Windows, run by wine64

const std = @import("std");

/// The machines the library ships for. glibc 2.27 is what Ubuntu 18.04 and Debian 10 already have.
const platforms = [_]struct { name: []const u8, triple: []const u8 }{
    .{ .name = "linux-x64", .triple = "x86_64-linux-gnu.2.27" },
    .{ .name = "linux-x64-musl", .triple = "x86_64-linux-musl" },
    .{ .name = "linux-arm64", .triple = "aarch64-linux-gnu.2.27" },
    .{ .name = "darwin-arm64", .triple = "aarch64-macos.11.0" },
    .{ .name = "windows-x64", .triple = "x86_64-windows-gnu" },
};

/// One compilation of lib/cpu/kernels.zig each; the order of preference stands in dispatch.zig.
const Tier = struct { name: []const u8, cpu: []const u8 };
const x86_tiers = [_]Tier{
    .{ .name = "x86_64", .cpu = "x86_64" },
    .{ .name = "avx2", .cpu = "x86_64_v3" },
    .{ .name = "avx512", .cpu = "x86_64_v4+avx512vnni+avx512vbmi+avx512vbmi2+avx512bitalg+avx512vpopcntdq" },
};
const arm_tiers = [_]Tier{
    .{ .name = "aarch64", .cpu = "generic" },
    .{ .name = "neon", .cpu = "generic+dotprod" },
};

pub fn build(b: *std.Build) void {
    const platform = b.option([]const u8, "platform", "linux-x64, linux-x64-musl, linux-arm64, darwin-arm64 or windows-x64") orelse hostPlatform(b);
    const library = b.addLibrary(.{
        .name = "tritter",
        .linkage = .dynamic,
        .root_module = rootModule(b, platformTriple(platform), "lib/root.zig", .fast),
    });
    const install = b.addInstallArtifact(library, .{
        .dest_dir = .{ .override = .lib },
        .implib_dir = .disabled,
        .pdb_dir = .disabled,
        .h_dir = .disabled,
    });
    b.getInstallStep().dependOn(&install.step);

    const test_step = b.step("test", "Run the unit tests of the native code on every tier of this machine");
    test_step.dependOn(&b.addRunArtifact(testArtifact(b, "x86_64-linux-musl")).step);

    const test_arm = b.step("test-aarch64", "Run the unit tests for aarch64 under qemu-user");
    const qemu = b.addSystemCommand(&.{"qemu-aarch64-static"});
    qemu.addArtifactArg(testArtifact(b, "aarch64-linux-musl"));
    test_arm.dependOn(&qemu.step);

    const test_windows = b.step("test-windows", "Run the unit tests for Windows under wine64");
    const wine = b.addSystemCommand(&.{"wine64"});
    wine.addArtifactArg(testArtifact(b, "x86_64-windows-gnu"));
    test_windows.dependOn(&wine.step);
}

fn hostPlatform(b: *std.Build) []const u8 {
    const host = b.graph.host.result;
    return switch (host.os.tag) {
        .macos => "darwin-arm64",
        .windows => "windows-x64",
        else => if (host.cpu.arch == .aarch64) "linux-arm64" else "linux-x64",
    };
}

fn platformTriple(name: []const u8) []const u8 {
    for (platforms) |platform| {
        if (std.mem.eql(u8, platform.name, name)) return platform.triple;
    }
    std.process.fatal("unknown platform '{s}'", .{name});
}

/// A module with the kernels of every tier of its architecture linked in.
fn rootModule(b: *std.Build, triple: []const u8, source: []const u8, optimize: std.builtin.Optimize) *std.Build.Module {
    const baseline = std.Target.Query.parse(.{ .arch_os_abi = triple, .cpu_features = "baseline" }) catch unreachable;
    const target = b.resolveTargetQuery(baseline);
    const module = b.createModule(.{
        .root_source_file = b.path(source),
        .target = target,
        .optimize = optimize,
        .link_libc = true,
        .strip = true,
        .pic = true,
    });
    addCuda(b, module, target.result);
    const tiers: []const Tier = if (target.result.cpu.arch == .aarch64) &arm_tiers else &x86_tiers;
    for (tiers) |tier| module.addObject(tierObject(b, triple, tier));
    return module;
}

/// The CUDA kernels, where there are drivers that they run on.
fn addCuda(b: *std.Build, module: *std.Build.Module, target: std.Target) void {
    const options = b.addOptions();
    const has_driver = target.os.tag == .windows or target.os.tag == .linux and target.abi.isGnu();
    options.addOption(bool, "has_cuda", has_driver and target.cpu.arch == .x86_64);
    module.addOptions("cuda_options", options);
    module.addAnonymousImport("kernels_fatbin", .{ .root_source_file = b.path("cuda/kernels.fatbin") });
    module.addAnonymousImport("kernels_list", .{ .root_source_file = b.path("cuda/kernels.txt") });
}

fn tierObject(b: *std.Build, triple: []const u8, tier: Tier) *std.Build.Step.Compile {
    const query = std.Target.Query.parse(.{ .arch_os_abi = triple, .cpu_features = tier.cpu }) catch unreachable;
    const options = b.addOptions();
    options.addOption([]const u8, "tier", tier.name);
    const module = b.createModule(.{
        .root_source_file = b.path("lib/cpu/kernels.zig"),
        .target = b.resolveTargetQuery(query),
        // The kernels are always optimised: a debug build of them would take minutes in the tests.
        .optimize = .fast,
        .strip = true,
        .pic = true,
        .stack_check = false,
        .stack_protector = false,
        .omit_frame_pointer = true,
    });
    module.addOptions("tier_options", options);
    return b.addObject(.{ .name = b.fmt("kernels_{s}", .{tier.name}), .root_module = module, .use_llvm = true });
}

fn testArtifact(b: *std.Build, triple: []const u8) *std.Build.Step.Compile {
    const module = rootModule(b, triple, "lib/test.zig", .safe);
    return b.addTest(.{ .root_module = module, .use_llvm = true });
}
