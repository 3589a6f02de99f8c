//! What a sluice plugin in Zig uses. The collector calls `init` once and `process` once per batch; a batch is columns
//! of numbers, one value a row, and what the plugin wrote and kept counts when `process` returned without an error.
//!
//! Memory: what a function here returns, and what comes from `allocator`, lives until the call ends and is freed as a
//! whole then. What is to live on belongs to another allocator, e.g. `std.heap.wasm_allocator`.

const std = @import("std");
const abi = @import("abi.zig");
const at = abi.at;

/// Every column, e.g. `columns.dst_port`.
pub const columns = @import("columns.zig");

// ---- Memory ----

var arena: std.heap.ArenaAllocator = .init(std.heap.wasm_allocator);

/// Memory until the end of the call. It is kept for the next one, so that a batch like the last allocates nothing.
pub const allocator: std.mem.Allocator = arena.allocator();

/// One `T` a row, all zero, until the end of the call.
pub fn zeros(comptime T: type) error{OutOfMemory}![]T {
    const values = try allocator.alloc(T, rows());
    @memset(std.mem.sliceAsBytes(values), 0);
    return values;
}

// ---- Failing ----

var failure: []const u8 = "";

/// Fails the call with a message: `return sluice.fail("{s} is missing", .{key});`. In `init` it is shown to the
/// operator; a batch is lost to the plugin, and the stage's `on_error` decides about its rows.
pub fn fail(comptime format: []const u8, arguments: anytype) error{ Failed, OutOfMemory } {
    failure = try std.fmt.allocPrint(allocator, format, arguments);
    return error.Failed;
}

/// The same for a batch that may be processed later.
pub fn retryLater(comptime format: []const u8, arguments: anytype) error{ RetryLater, OutOfMemory } {
    failure = try std.fmt.allocPrint(allocator, format, arguments);
    return error.RetryLater;
}

fn refused(column: u16, denied: abi.Denied) error{ Failed, OutOfMemory } {
    const reason = switch (denied.tag) {
        .no_batch => "there is no batch outside of process",
        .not_granted => "the stage's grant does not cover it",
        .wrong_width => switch (denied.detail & 0xff) {
            0 => "it holds u8",
            1 => "it holds u16",
            2 => "it holds u32",
            3 => "it holds u64",
            4 => "it holds text",
            else => "it holds lists",
        },
        .absent => "no row has it",
        .wrong_length => "the list has another length than the batch",
        .out_of_range => "a value is out of range",
        _ => "refused",
    };
    if (column == 0) return fail("{s}", .{reason});
    if (columns.name(column)) |name| return fail("column `{s}`: {s}", .{ name, reason });
    return fail("column {d}: {s}", .{ column, reason });
}

// ---- The config table ----

/// The `config` table of the stage. Numbers are `.number_string`: read them with `number`.
pub fn parseConfig(json: []const u8) !std.json.ObjectMap {
    const options: std.json.ParseOptions = .{ .parse_numbers = false, .duplicate_field_behavior = .use_last };
    const value = std.json.parseFromSliceLeaky(std.json.Value, allocator, json, options) catch
        return fail("config is not a table in JSON", .{});
    return if (value == .object) value.object else fail("config is not a table in JSON", .{});
}

/// A value of the config table as an integer, exact to 64 bits; null if it is something else or does not fit `T`.
pub fn number(comptime T: type, value: std.json.Value) ?T {
    return switch (value) {
        .number_string => |digits| std.fmt.parseInt(T, digits, 10) catch null,
        else => null,
    };
}

// ---- Columns ----

/// A column of `T`: `u8`, `u16`, `u32`, `u64`, `Texts` or `Lists`. An operator's own: `.{ .number =
/// columnNumber("name").? }`.
pub fn Column(comptime T: type) type {
    return struct {
        number: u16,
        pub const Value = T;
    };
}

/// A text column: row `r` holds `words[codes[r]]`. Not all words need occur.
pub const Texts = struct { words: []const []const u8, codes: []u32 };

/// A list column: row `r` holds `values[offsets[r]..offsets[r + 1]]`.
pub const Lists = struct { offsets: []u32, values: []u32 };

/// Rows in the batch.
pub fn rows() u32 {
    return abi.rows();
}

/// Batch time in milliseconds since the Unix epoch: the only clock there is.
pub fn nowMs() u64 {
    return abi.nowMs();
}

/// Whether some row may have the column.
pub fn has(column: anytype) bool {
    return abi.has(column.number) != 0;
}

/// Number of a column by its name, for an operator's own columns.
pub fn columnNumber(name: []const u8) ?u16 {
    var ret: abi.OptionColumn = undefined;
    abi.columnOf(at(u8, name), name.len, &ret);
    return if (ret.is_some != 0) ret.value else null;
}

/// The column, one value a row; zeros where no row has it. `read(columns.dst_port)` is a `[]u16`, which may be
/// changed: what is written is another call.
pub fn read(column: anytype) error{ Failed, OutOfMemory }!Slice(@TypeOf(column).Value) {
    switch (@TypeOf(column).Value) {
        Texts => {
            const list = (try received(abi.Pair, abi.texts, column.number)) orelse return .{
                .words = &.{""},
                .codes = try zeros(u32),
            };
            const given = list.first.slice(abi.List);
            const words = try allocator.alloc([]const u8, given.len);
            for (words, given) |*word, text| word.* = text.slice(u8);
            return .{ .words = words, .codes = list.second.slice(u32) };
        },
        Lists => {
            const list = (try received(abi.Pair, abi.lists, column.number)) orelse {
                const offsets = try allocator.alloc(u32, rows() + 1);
                @memset(offsets, 0);
                return .{ .offsets = offsets, .values = &.{} };
            };
            return .{ .offsets = list.first.slice(u32), .values = list.second.slice(u32) };
        },
        else => |T| {
            const list = (try received(abi.List, abi.get(T), column.number)) orelse return zeros(T);
            return list.slice(T);
        },
    }
}

fn Slice(comptime T: type) type {
    return if (T == Texts or T == Lists) T else []T;
}

/// What the collector answers to a read; null if no row has the column.
fn received(comptime T: type, call: anytype, column: u16) error{ Failed, OutOfMemory }!?T {
    var ret: abi.Result(T) = undefined;
    call(column, &ret);
    if (ret.is_error == 0) return ret.value.ok;
    return if (ret.value.denied.tag == .absent) null else refused(column, ret.value.denied);
}

/// Replaces a column, one value a row; 0 means absent. `values`: a slice, `Texts` or `Lists`.
pub fn write(column: anytype, values: anytype) error{ Failed, OutOfMemory }!void {
    var ret: abi.Result(void) = undefined;
    const T = @TypeOf(column).Value;
    if (T == Texts) {
        const words: []const []const u8 = values.words;
        const given = try lists(words);
        const codes: []const u32 = values.codes;
        abi.setTexts(column.number, at(abi.List, given), given.len, at(u32, codes), codes.len, &ret);
    } else if (T == Lists) {
        const offsets: []const u32 = values.offsets;
        const items: []const u32 = values.values;
        abi.setLists(column.number, at(u32, offsets), offsets.len, at(u32, items), items.len, &ret);
    } else {
        const slice: []const T = values;
        abi.set(T)(column.number, at(T, slice), slice.len, &ret);
    }
    if (ret.is_error != 0) return refused(column.number, ret.value.denied);
}

/// Makes a column absent in every row.
pub fn clear(column: anytype) error{ Failed, OutOfMemory }!void {
    var ret: abi.Result(void) = undefined;
    abi.clear(column.number, &ret);
    if (ret.is_error != 0) return refused(column.number, ret.value.denied);
}

/// Keeps the rows whose `mask` is true, drops the others, and returns how many are kept. One value a row. The last
/// call counts; not called, all rows stay.
pub fn keep(mask: []const bool) error{ Failed, OutOfMemory }!u32 {
    const words = try bitmap(mask);
    var ret: abi.Result(void) = undefined;
    abi.keep(at(u32, words), words.len, &ret);
    if (ret.is_error != 0) return refused(0, ret.value.denied);
    var kept: u32 = 0;
    for (words) |word| kept += @popCount(word);
    return kept;
}

/// One bit a row.
fn bitmap(mask: []const bool) error{OutOfMemory}![]u32 {
    const words = try allocator.alloc(u32, (mask.len + 31) / 32);
    for (words, 0..) |*word, index| {
        const left = mask[32 * index ..];
        if (left.len >= 32) {
            // One instruction or few: the lanes that are true, as bits.
            const lanes: @Vector(32, bool) = left[0..32].*;
            word.* = @bitCast(lanes);
        } else {
            word.* = 0;
            for (left, 0..) |bit, row| word.* |= @as(u32, @intFromBool(bit)) << @intCast(row);
        }
    }
    return words;
}

/// Sends row `r` to the route `names[index[r]]`; the last call counts.
pub fn route(names: []const []const u8, index: []const u16) error{ Failed, OutOfMemory }!void {
    const given = try lists(names);
    var ret: abi.Result(void) = undefined;
    abi.route(at(abi.List, given), given.len, at(u16, index), index.len, &ret);
    if (ret.is_error != 0) return refused(0, ret.value.denied);
}

fn lists(texts: []const []const u8) error{OutOfMemory}![]abi.List {
    const given = try allocator.alloc(abi.List, texts.len);
    for (given, texts) |*list, text| list.* = .of(u8, text);
    return given;
}

// ---- Telling people ----

pub const Level = abi.Level;

/// One line in the collector's log.
pub fn log(level: Level, comptime format: []const u8, arguments: anytype) void {
    const line = std.fmt.allocPrint(allocator, format, arguments) catch return;
    abi.log(level, at(u8, line), line.len);
}

/// Adds to a counter. Names: lower case, digits and `_`; at most 64 a stage.
pub fn count(name: []const u8, add: u32) void {
    abi.count(at(u8, name), name.len, add);
}

/// Sets a gauge.
pub fn gauge(name: []const u8, value: f64) void {
    abi.gauge(at(u8, name), name.len, value);
}

/// Something that a person or another program should know.
pub const Alert = struct {
    /// What it is, from a closed set, e.g. `dos-raised`.
    kind: []const u8,
    /// 0 emergency to 7 debug, as in syslog.
    severity: u8 = 5,
    /// What it is about, e.g. an address.
    subject: []const u8 = "",
    /// The measured value, and what it was compared with.
    value: f64 = 0,
    threshold: f64 = 0,
    /// For people, with the unit.
    note: []const u8 = "",

    /// Raises it, if the grant has `events = true`.
    pub fn emit(a: Alert) void {
        const kind = at(u8, a.kind);
        const subject = at(u8, a.subject);
        const note = at(u8, a.note);
        abi.emit(kind, a.kind.len, a.severity, subject, a.subject.len, a.value, a.threshold, note, a.note.len);
    }
};

// ---- Tables of the collector ----

/// The columns that rows are looked up by.
pub const Key = struct {
    hi: u16,
    lo: u16,

    /// An address, of the columns of its halves.
    pub fn address(hi: Column(u64), lo: Column(u64)) Key {
        return .{ .hi = hi.number, .lo = lo.number };
    }

    /// A number of any width, in a table of values.
    pub fn value(column: anytype) Key {
        return .{ .hi = 0, .lo = column.number };
    }

    /// Two numbers, in a table of values.
    pub fn values(first: anytype, second: anytype) Key {
        return .{ .hi = first.number, .lo = second.number };
    }

    /// An address, of which `hi` is the high half, and a number, in a table of values.
    pub fn addressed(hi: Column(u64), column: anytype) Key {
        return .{ .hi = hi.number, .lo = column.number };
    }
};

/// Which rows `Table.lookupInto` writes, and what becomes of the others.
pub const Into = struct {
    /// The rows that are looked up, one value a row; null: all.
    only: ?[]const bool = null,
    /// The others, and those without a match, stay as they are. Else they become 0 or empty.
    keep_others: bool = false,
};

/// A table. Open it once, in `init`.
pub const Table = struct {
    handle: i32,

    /// Opens a table by its name in the TOML.
    pub fn open(name: []const u8) error{ Failed, OutOfMemory }!Table {
        var ret: abi.Opened = undefined;
        abi.openTable(at(u8, name), name.len, &ret);
        if (ret.is_error == 0) return .{ .handle = ret.value.handle };
        return fail("{s}", .{ret.value.message.slice(u8)});
    }

    /// For each row the code of the longest prefix that covers the address in the two columns; 0 where there is none.
    pub fn lookup(table: Table, hi: Column(u64), lo: Column(u64)) error{ Failed, OutOfMemory }![]u32 {
        return table.lookupKey(.address(hi, lo));
    }

    /// For each row the code that a table of values has for a number.
    pub fn lookupNumber(table: Table, number_column: anytype) error{ Failed, OutOfMemory }![]u32 {
        return table.lookupKey(.value(number_column));
    }

    /// For each row the code that a table of values has for two numbers.
    pub fn lookupNumbers(table: Table, first: anytype, second: anytype) error{ Failed, OutOfMemory }![]u32 {
        return table.lookupKey(.values(first, second));
    }

    /// For each row the code that a table of values has for an address, of which `hi` is the high half, and a number.
    pub fn lookupAddressed(table: Table, hi: Column(u64), number_column: anytype) error{ Failed, OutOfMemory }![]u32 {
        return table.lookupKey(.addressed(hi, number_column));
    }

    fn lookupKey(table: Table, key: Key) error{ Failed, OutOfMemory }![]u32 {
        var ret: abi.Result(abi.List) = undefined;
        abi.lookupColumns(table.handle, key.hi, key.lo, &ret);
        if (ret.is_error == 0) return ret.value.ok.slice(u32);
        return if (ret.value.denied.tag == .absent) zeros(u32) else refused(key.lo, ret.value.denied);
    }

    /// Writes what the table says of each row into a column of texts, or of numbers: decimal digits, with `AS` before them or
    /// not. No row crosses: this is the fast way to enrich. False if no row has the key, and then nothing is written.
    pub fn lookupInto(table: Table, key: Key, into: anytype, which: Into) error{ Failed, OutOfMemory }!bool {
        const words: []const u32 = if (which.only) |mask| try bitmap(mask) else &.{};
        const some = @intFromBool(which.only != null);
        const keeps = @intFromBool(which.keep_others);
        var ret: abi.Result(void) = undefined;
        abi.lookupInto(table.handle, key.hi, key.lo, into.number, some, at(u32, words), words.len, keeps, &ret);
        if (ret.is_error == 0) return true;
        if (ret.value.denied.tag == .absent) return false;
        // The answer does not say which of the columns it is about.
        _ = try table.lookupKey(key);
        return refused(into.number, ret.value.denied);
    }

    /// The value of a code; null for 0 and for codes of another generation.
    pub fn value(table: Table, code: u32) ?[]const u8 {
        var ret: abi.OptionText = undefined;
        abi.tableValue(table.handle, code, &ret);
        return if (ret.is_some != 0) ret.value.slice(u8) else null;
    }

    /// Changes when the table was exchanged: codes from before are void.
    pub fn generation(table: Table) u64 {
        return abi.tableGeneration(table.handle);
    }
};

// ---- The plugin itself ----

/// What the plugin is and what it asks for. The operator's `grant` decides.
pub const Manifest = struct {
    name: []const u8,
    version: []const u8,
    /// Numbers of columns: `&.{ columns.bytes.number }`.
    reads: []const u16 = &.{},
    writes: []const u16 = &.{},
    /// Keeps state between batches: the collector then runs one instance of it.
    stateful: bool = false,
    /// How often `tick` is wanted, in milliseconds.
    tick_ms: ?u32 = null,
};

/// Makes a plugin of a file: `comptime { sluice.exportPlugin(@This()); }`. The file has
///
///     pub fn init(config: []const u8) !sluice.Manifest
///     pub fn process() !void
///
/// and, if it wants, `tick(now_ms: u64) !void`, or both of `snapshot() ![]const u8` and `restore(data: []const u8)
/// !bool`, which returns false to start empty.
pub fn exportPlugin(comptime Plugin: type) void {
    const glue = struct {
        var init_ret: abi.InitResult = undefined;
        var process_ret: abi.ProcessResult = undefined;
        var snapshot_ret: abi.List = undefined;
        var restore_ret: abi.RestoreResult = undefined;

        fn init(json: [*]const u8, length: usize) callconv(.c) *const anyopaque {
            if (Plugin.init(json[0..length])) |m| {
                init_ret = .{ .is_error = 0, .value = .{ .manifest = .{
                    .name = .of(u8, m.name),
                    .version = .of(u8, m.version),
                    .reads = .of(u16, m.reads),
                    .writes = .of(u16, m.writes),
                    .stateful = @intFromBool(m.stateful),
                    .has_tick_ms = @intFromBool(m.tick_ms != null),
                    .tick_ms = m.tick_ms orelse 0,
                } } };
            } else |err| {
                init_ret = .{ .is_error = 1, .value = .{ .message = .of(u8, message(err)) } };
            }
            return &init_ret;
        }

        fn process() callconv(.c) *const anyopaque {
            if (Plugin.process()) {
                process_ret = .{ .is_error = 0, .failure = .fatal, .message = .of(u8, "") };
            } else |err| {
                const retry = @as(anyerror, err) == error.RetryLater;
                process_ret = .{
                    .is_error = 1,
                    .failure = if (retry) .retry_later else .fatal,
                    .message = .of(u8, message(err)),
                };
            }
            return &process_ret;
        }

        fn tick(now_ms: u64) callconv(.c) void {
            Plugin.tick(now_ms) catch |err| log(.@"error", "tick: {s}", .{message(err)});
            release();
        }

        fn snapshot() callconv(.c) *const anyopaque {
            const data: []const u8 = Plugin.snapshot() catch |err| data: {
                log(.@"error", "snapshot: {s}", .{message(err)});
                break :data "";
            };
            snapshot_ret = .of(u8, data);
            return &snapshot_ret;
        }

        fn restore(data: [*]const u8, length: usize) callconv(.c) *const anyopaque {
            if (Plugin.restore(data[0..length])) |understood| {
                restore_ret = .{ .is_error = 0, .value = .{ .understood = @intFromBool(understood) } };
            } else |err| {
                restore_ret = .{ .is_error = 1, .value = .{ .message = .of(u8, message(err)) } };
            }
            return &restore_ret;
        }
    };
    exportStage("stage", "init", &glue.init);
    exportStage("stage", "process", &glue.process);
    if (@hasDecl(Plugin, "tick")) @export(&glue.tick, .{ .name = abi.exported("timer", "tick") });
    if (@hasDecl(Plugin, "snapshot")) {
        exportStage("state", "snapshot", &glue.snapshot);
        exportStage("state", "restore", &glue.restore);
    }
    @export(&realloc, .{ .name = "cabi_realloc" });
}

/// A function whose answer lies in memory, and the one that the collector calls when it has read the answer.
fn exportStage(comptime interface: []const u8, comptime name: []const u8, comptime function: anytype) void {
    @export(function, .{ .name = abi.exported(interface, name) });
    @export(&release_answer, .{ .name = "cabi_post_" ++ abi.exported(interface, name) });
}

fn release_answer(_: *const anyopaque) callconv(.c) void {
    release();
}

/// Ends a call: the memory of the arena is free again.
fn release() void {
    failure = "";
    _ = arena.reset(.retain_capacity);
}

fn message(err: anyerror) []const u8 {
    return switch (err) {
        error.Failed, error.RetryLater => failure,
        error.OutOfMemory => "out of memory",
        else => @errorName(err),
    };
}

/// Where the collector puts what it gives.
fn realloc(old: ?[*]u8, old_size: usize, alignment: usize, size: usize) callconv(.c) ?[*]u8 {
    if (size == 0) return @ptrFromInt(alignment);
    const block = allocator.rawAlloc(size, .fromByteUnits(alignment), @returnAddress()) orelse @panic("out of memory");
    if (old_size > 0) @memcpy(block[0..@min(old_size, size)], old.?[0..@min(old_size, size)]);
    return block;
}

/// Logs the text of a panic before the instance ends: `pub const panic = sluice.panic;` in the plugin's file.
pub const panic = std.debug.FullPanic(struct {
    fn panic(text: []const u8, _: ?usize) noreturn {
        abi.log(.@"error", at(u8, text), text.len);
        @trap();
    }
}.panic);
