;; Reads the column `bytes` (20) and forgets it: what it costs to copy eight bytes a row.
(module
  (import "sluice:plugin/batch@0.1.0" "u64s" (func $u64s (param i32 i32)))
  (memory (export "memory") 32)
  (global $free (mut i32) (i32.const 1024))
  (func (export "sluice:plugin/stage@0.1.0#init") (param i32 i32) (result i32) (i32.const 200))
  (func (export "sluice:plugin/stage@0.1.0#process") (result i32)
    (global.set $free (i32.const 1024))
    (call $u64s (i32.const 20) (i32.const 400))
    (i32.const 300))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $free (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get 3))))
  (data (i32.const 100) "copy0.1.0")
  (data (i32.const 120) "\14\00")
  ;; ok(manifest): name, version, reads, no writes, stateless, no tick.
  (data (i32.const 200) "\00\00\00\00" "\64\00\00\00\04\00\00\00" "\68\00\00\00\05\00\00\00" "\78\00\00\00\01\00\00\00"))
