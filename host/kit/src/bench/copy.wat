;; A plugin that reads and writes the columns that it is told to, whatever is in them, and does nothing else: what it
;; costs is what crossing the boundary costs. With no columns it is the plugin that does nothing.
;;
;; Its configuration is six characters a column: `r` or `w`, the width (0 u8, 1 u16, 2 u32, 3 u64, 4 text, 5 lists) and
;; four digits of its number; at most 128 of each. Assembled with:
;;     wasm-tools parse copy.wat -o copy.wasm
(module
  (type $read (func (param $column i32) (param $result i32)))
  (type $write (func (param $column i32) (param $values i32) (param $length i32) (param $result i32)))
  (import "sluice:plugin/batch@0.1.0" "rows" (func $rows (result i32)))
  (import "sluice:plugin/batch@0.1.0" "u8s" (func $u8s (type $read)))
  (import "sluice:plugin/batch@0.1.0" "u16s" (func $u16s (type $read)))
  (import "sluice:plugin/batch@0.1.0" "u32s" (func $u32s (type $read)))
  (import "sluice:plugin/batch@0.1.0" "u64s" (func $u64s (type $read)))
  (import "sluice:plugin/batch@0.1.0" "texts" (func $texts (type $read)))
  (import "sluice:plugin/batch@0.1.0" "u32-lists" (func $lists (type $read)))
  (import "sluice:plugin/batch@0.1.0" "set-u8s" (func $set_u8s (type $write)))
  (import "sluice:plugin/batch@0.1.0" "set-u16s" (func $set_u16s (type $write)))
  (import "sluice:plugin/batch@0.1.0" "set-u32s" (func $set_u32s (type $write)))
  (import "sluice:plugin/batch@0.1.0" "set-u64s" (func $set_u64s (type $write)))
  (import "sluice:plugin/batch@0.1.0" "set-texts" (func $set_texts (param i32 i32 i32 i32 i32 i32)))
  (import "sluice:plugin/batch@0.1.0" "set-u32-lists" (func $set_lists (param i32 i32 i32 i32 i32 i32)))

  (memory (export "memory") 32)
  (global $free (mut i32) (i32.const 4096))
  ;; By width: u8, u16, u32, u64, text, lists.
  (table 10 funcref)
  (elem (i32.const 0) $u8s $u16s $u32s $u64s $texts $lists $set_u8s $set_u16s $set_u32s $set_u64s)

  ;; Makes the memory large enough for `$end`.
  (func $need (param $end i32)
    (local $more i32)
    (local.set $more (i32.sub (local.get $end) (i32.shl (memory.size) (i32.const 16))))
    (if (i32.gt_s (local.get $more) (i32.const 0))
      (then (drop (memory.grow (i32.shr_u (i32.add (local.get $more) (i32.const 65535)) (i32.const 16)))))))

  (func $digit (param $at i32) (result i32) (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))

  (func (export "sluice:plugin/stage@0.1.0#init") (param $at i32) (param $length i32) (result i32)
    (local $end i32) (local $slot i32) (local $count i32) (local $columns i32) (local $widths i32)
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (block $done
      (loop $next
        (br_if $done (i32.gt_u (i32.add (local.get $at) (i32.const 6)) (local.get $end)))
        (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 114)) ;; r
          (then
            (local.set $slot (i32.const 16))
            (local.set $columns (i32.const 32))
            (local.set $widths (i32.const 544)))
          (else
            (local.set $slot (i32.const 20))
            (local.set $columns (i32.const 288))
            (local.set $widths (i32.const 672))))
        (local.set $count (i32.load (local.get $slot)))
        (i32.store8
          (i32.add (local.get $widths) (local.get $count)) (call $digit (i32.add (local.get $at) (i32.const 1))))
        (i32.store16
          (i32.add (local.get $columns) (i32.shl (local.get $count) (i32.const 1)))
          (i32.add
            (i32.add
              (i32.mul (call $digit (i32.add (local.get $at) (i32.const 2))) (i32.const 1000))
              (i32.mul (call $digit (i32.add (local.get $at) (i32.const 3))) (i32.const 100)))
            (i32.add
              (i32.mul (call $digit (i32.add (local.get $at) (i32.const 4))) (i32.const 10))
              (call $digit (i32.add (local.get $at) (i32.const 5))))))
        (i32.store (local.get $slot) (i32.add (local.get $count) (i32.const 1)))
        (local.set $at (i32.add (local.get $at) (i32.const 6)))
        (br $next)))
    ;; The manifest's lists are as long.
    (i32.store (i32.const 840) (i32.load (i32.const 16)))
    (i32.store (i32.const 848) (i32.load (i32.const 20)))
    (i32.const 816))

  (func (export "sluice:plugin/stage@0.1.0#process") (result i32)
    (local $at i32) (local $rows i32) (local $column i32) (local $width i32)
    (block $all_read
      (loop $next
        (br_if $all_read (i32.ge_u (local.get $at) (i32.load (i32.const 16))))
        ;; A column takes the place of the one before.
        (global.set $free (i32.const 4096))
        (call_indirect (type $read)
          (i32.load16_u offset=32 (i32.shl (local.get $at) (i32.const 1)))
          (i32.const 928)
          (i32.load8_u offset=544 (local.get $at)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (local.set $at (i32.const 0))
    (local.set $rows (call $rows))
    (call $need (i32.add (i32.const 4104) (i32.shl (local.get $rows) (i32.const 3))))
    (block $all_written
      (loop $next
        (br_if $all_written (i32.ge_u (local.get $at) (i32.load (i32.const 20))))
        (local.set $column (i32.load16_u offset=288 (i32.shl (local.get $at) (i32.const 1))))
        (local.set $width (i32.load8_u offset=672 (local.get $at)))
        (if (i32.lt_u (local.get $width) (i32.const 4))
          (then
            (call_indirect (type $write)
              (local.get $column) (i32.const 4096) (local.get $rows) (i32.const 928)
              (i32.add (local.get $width) (i32.const 6))))
          (else
            ;; One empty word for all rows, or an empty list for each.
            (memory.fill
              (i32.const 4096) (i32.const 0)
              (i32.shl (i32.add (local.get $rows) (i32.const 1)) (i32.const 2)))
            (if (i32.eq (local.get $width) (i32.const 4))
              (then
                (call $set_texts
                  (local.get $column) (i32.const 960) (i32.const 1) (i32.const 4096) (local.get $rows) (i32.const 928)))
              (else
                (call $set_lists
                  (local.get $column) (i32.const 4096) (i32.add (local.get $rows) (i32.const 1)) (i32.const 4096)
                  (i32.const 0) (i32.const 928))))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (i32.const 880))

  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (call $need (global.get $free))
    (local.get $at))

  ;; 16 how many are read, 20 how many are written, 32 columns read, 288 columns written (two bytes each), 544 and 672
  ;; their widths (one byte each).
  (data (i32.const 800) "copy1")
  ;; 816 ok(manifest): name, version, reads, writes, stateless, no tick. 880 ok. 928 results. 960 an empty word.
  (data (i32.const 816)
    "\00\00\00\00" "\20\03\00\00\04\00\00\00" "\24\03\00\00\01\00\00\00" "\20\00\00\00\00\00\00\00" "\20\01\00\00\00\00\00\00"))
