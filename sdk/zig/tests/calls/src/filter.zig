//! Calls what sluice.zig has: `act` says what.

const std = @import("std");
const sluice = @import("sluice");
const columns = sluice.columns;

var table: sluice.Table = undefined;
var act: *const fn () anyerror!void = acts.nothing;

const acts = struct {
    pub fn nothing() !void {}

    // ---- The batch ----

    pub fn read() !void {
        const proto = try sluice.read(columns.proto);
        const src_port = try sluice.read(columns.src_port);
        const customer = try sluice.read(columns.customer_id);
        const bytes = try sluice.read(columns.bytes);
        const notes = try sluice.read(columns.note);
        const paths = try sluice.read(columns.as_path);
        var sums: [3]u32 = @splat(0);
        var largest: u64 = 0;
        var zurich: u32 = 0;
        for (proto, src_port, customer, bytes, notes.codes) |one, two, four, eight, code| {
            sums[0] +%= one;
            sums[1] +%= two;
            sums[2] +%= four;
            largest = @max(largest, eight);
            zurich += @intFromBool(std.mem.eql(u8, notes.words[code], "Zürich ✓"));
        }
        var listed: u32 = 0;
        for (paths.offsets[0..proto.len], paths.offsets[1..]) |start, end| listed += end - start;
        sluice.count("u8", sums[0]);
        sluice.count("u16", sums[1]);
        sluice.count("u32", sums[2]);
        sluice.count("u64_high", @intCast(largest >> 32));
        sluice.count("u64_low", @truncate(largest));
        sluice.count("zurich", zurich);
        sluice.count("listed", listed);
        if (proto.len > 0 and paths.offsets[1] > 1) sluice.count("second", paths.values[paths.offsets[0] + 1]);
        sluice.count("rows", sluice.rows());
        sluice.count("seconds", @intCast(sluice.nowMs() / 1000));
    }

    pub fn absent() !void {
        sluice.count("present", @intFromBool(sluice.has(columns.proto)));
        sluice.count("absent", @intFromBool(!sluice.has(columns.packets)));
        const notes = try sluice.read(columns.note);
        const paths = try sluice.read(columns.as_path);
        for (try sluice.read(columns.packets), notes.codes, 0..) |packets, code, row| {
            sluice.count("zeros", @intFromBool(packets == 0));
            sluice.count("empty_texts", @intFromBool(notes.words[code].len == 0));
            sluice.count("empty_lists", @intFromBool(paths.offsets[row] == paths.offsets[row + 1]));
        }
    }

    pub fn write() !void {
        const proto = try sluice.read(columns.proto);
        const ports = try sluice.read(columns.src_port);
        const bytes = try sluice.read(columns.bytes);
        const tos = try sluice.zeros(u8);
        const customers_ = try sluice.zeros(u32);
        const codes = try sluice.zeros(u32);
        const offsets = try sluice.allocator.alloc(u32, proto.len + 1);
        const path = try sluice.allocator.alloc(u32, 2 * proto.len);
        offsets[0] = 0;
        for (proto, ports, bytes, tos, customers_, codes, 0..) |protocol, *port, *b, *t, *customer, *code, row| {
            port.* +%= 1;
            if (protocol == 6) {
                t.* = std.math.maxInt(u8);
                customer.* = std.math.maxInt(u32);
                b.* = std.math.maxInt(u64);
                code.* = 1;
            }
            path[2 * row] = std.math.maxInt(u32);
            path[2 * row + 1] = @intCast(row);
            offsets[row + 1] = @intCast(2 * row + 2);
        }
        try sluice.write(columns.tos, tos);
        try sluice.write(columns.src_port, ports);
        try sluice.write(columns.customer_id, customers_);
        try sluice.write(columns.bytes, bytes);
        try sluice.write(columns.note, .{ .words = &.{ "", "Genève" }, .codes = codes });
        try sluice.write(columns.as_path, .{ .offsets = offsets, .values = path });
        try sluice.clear(columns.proto);
    }

    pub fn names() !void {
        sluice.count("found", @intFromBool(sluice.columnNumber("bytes") == columns.bytes.number));
        sluice.count("unknown", @intFromBool(sluice.columnNumber("no_such_column") == null));
    }

    pub fn not_granted() !void {
        _ = try sluice.read(columns.dst_as);
    }

    pub fn wrong_width() !void {
        _ = try sluice.read(sluice.Column(u8){ .number = columns.bytes.number });
    }

    pub fn not_written() !void {
        try sluice.write(columns.src_as, try sluice.zeros(u32));
    }

    pub fn no_such_word() !void {
        const codes = try sluice.zeros(u32);
        codes[0] = 7;
        try sluice.write(columns.note, .{ .words = &.{"a"}, .codes = codes });
    }

    pub fn keep() !void {
        const odd = try sluice.zeros(bool);
        for (odd, try sluice.read(columns.dst_port)) |*is_odd, port| is_odd.* = port & 1 == 1;
        sluice.count("kept", try sluice.keep(odd));
    }

    pub fn route() !void {
        const index = try sluice.zeros(u16);
        for (index, try sluice.read(columns.dst_port)) |*of, port| of.* = @intFromBool(port == 443);
        try sluice.route(&.{ "other", "web" }, index);
    }

    pub fn no_such_route() !void {
        try sluice.route(&.{}, try sluice.zeros(u16));
    }

    // ---- Telling people ----

    pub fn tell() !void {
        for (try sluice.read(columns.bytes), 0..) |bytes, row| {
            if (bytes <= 1000) continue;
            const subject = try std.fmt.allocPrint(sluice.allocator, "row {d}", .{row});
            (sluice.Alert{
                .kind = "large-flow",
                .severity = 4,
                .subject = subject,
                .value = @floatFromInt(bytes),
                .threshold = 1000,
                .note = "größer als 1 kB ✓",
            }).emit();
            sluice.log(.@"error", "an error of {s}", .{subject});
        }
        sluice.log(.warn, "a warning", .{});
        sluice.log(.info, "{s}", .{"Zürich ✓"});
        sluice.log(.debug, "a detail", .{});
        sluice.gauge("ratio", 0.5);
    }

    pub fn fatal() !void {
        return sluice.fail("batch {d} is not for me", .{0});
    }

    pub fn later() !void {
        return sluice.retryLater("the moon is not full", .{});
    }

    // ---- Tables ----

    pub fn customers() !void {
        const generation = table.generation();
        const codes = try table.lookup(columns.src_addr_hi, columns.src_addr_lo);
        for (codes) |*code| {
            sluice.count("none", @intFromBool(code.* == 0));
            code.* = numberOf(code.*);
        }
        try sluice.write(columns.customer_id, codes);
        sluice.count("same_generation", @intFromBool(table.generation() == generation));
    }

    pub fn values() !void {
        countValues("numbers", try table.lookupNumber(columns.bytes));
        countValues("pairs", try table.lookupNumbers(columns.proto, columns.bytes));
        countValues("addressed", try table.lookupAddressed(columns.src_addr_hi, columns.bytes));
    }

    pub fn into() !void {
        const first = try sluice.zeros(bool);
        for (first, try sluice.read(columns.bytes)) |*is_first, bytes| is_first.* = bytes == 1;
        const key: sluice.Key = .address(columns.src_addr_hi, columns.src_addr_lo);
        const some: sluice.Into = .{ .only = first };
        const keeps: sluice.Into = .{ .only = first, .keep_others = true };
        sluice.count("written", @intFromBool(try table.lookupInto(key, columns.customer_id, .{})));
        sluice.count("written", @intFromBool(try table.lookupInto(key, columns.src_port, some)));
        sluice.count("written", @intFromBool(try table.lookupInto(key, columns.note, keeps)));
    }

    pub fn into_refused() !void {
        _ = try table.lookupInto(.address(columns.src_addr_hi, columns.src_addr_lo), columns.src_as, .{});
    }

    pub fn by_refused() !void {
        _ = try table.lookupInto(.address(columns.dst_addr_hi, columns.dst_addr_lo), columns.customer_id, .{});
    }
};

fn numberOf(code: u32) u32 {
    return std.fmt.parseInt(u32, table.value(code) orelse return 0, 10) catch 0;
}

fn countValues(name: []const u8, codes: []const u32) void {
    for (codes) |code| sluice.count(name, numberOf(code));
}

fn float(value: std.json.Value) !f64 {
    return std.fmt.parseFloat(f64, value.number_string);
}

/// Takes a key that only the case about the configuration has: it is counted if it is right.
fn takeValue(key: []const u8, value: std.json.Value) !bool {
    const is = std.mem.eql;
    if (is(u8, key, "number")) {
        sluice.count("number", @intFromBool(sluice.number(u64, value) == std.math.maxInt(u64)));
    } else if (is(u8, key, "negative")) {
        const right = sluice.number(u64, value) == null and sluice.number(i8, value) == -1;
        sluice.count("negative", @intFromBool(right and try float(value) == -1));
    } else if (is(u8, key, "ratio")) {
        sluice.gauge("ratio", try float(value));
    } else if (is(u8, key, "flag")) {
        sluice.count("flag", @intFromBool(value.bool));
    } else if (is(u8, key, "text")) {
        sluice.count("text", @intFromBool(is(u8, value.string, "tab\t\"ü\\")));
    } else if (is(u8, key, "list")) {
        sluice.count("list", @intFromBool(value == .array));
    } else {
        return false;
    }
    return true;
}

pub fn init(json: []const u8) !sluice.Manifest {
    const config = try sluice.parseConfig(json);
    for (config.keys(), config.values()) |key, value| {
        if (try takeValue(key, value)) continue;
        if (!std.mem.eql(u8, key, "act")) return sluice.fail("what is `{s}`", .{key});
        const wanted = value.string;
        const tabled = [_][]const u8{ "customers", "values", "into", "into_refused", "by_refused" };
        for (tabled) |name| if (std.mem.eql(u8, name, wanted)) {
            table = try .open("customers");
        };
        if (std.mem.eql(u8, wanted, "missing")) table = try .open("no-such-table");
        inline for (@typeInfo(acts).@"struct".decl_names) |name| {
            if (std.mem.eql(u8, name, wanted)) act = @field(acts, name);
        }
    }
    return .{
        .name = "calls",
        .version = "0.1.0",
        .reads = &.{
            columns.proto.number,       columns.src_port.number,    columns.dst_port.number, columns.bytes.number,
            columns.packets.number,     columns.src_addr_hi.number, columns.src_addr_lo.number,
            columns.customer_id.number, columns.note.number,        columns.as_path.number,
        },
        .writes = &.{
            columns.proto.number,       columns.tos.number,  columns.src_port.number, columns.bytes.number,
            columns.customer_id.number, columns.note.number, columns.as_path.number,
        },
    };
}

pub fn process() !void {
    return act();
}

pub const panic = sluice.panic;

comptime {
    sluice.exportPlugin(@This());
}
