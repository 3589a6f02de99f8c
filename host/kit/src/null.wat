;; Does nothing: what a call costs.
(module
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 1024))
  (func (export "sluice:plugin/stage@0.1.0#init") (param i32 i32) (result i32) (i32.const 200))
  (func (export "sluice:plugin/stage@0.1.0#process") (result i32) (i32.const 300))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $free (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get 3))))
  (data (i32.const 100) "null0.1.0")
  ;; ok(manifest): name, version, no reads, no writes, stateless, no tick.
  (data (i32.const 200) "\00\00\00\00" "\64\00\00\00\04\00\00\00" "\68\00\00\00\05\00\00\00"))
