;; Tries: to return what is too large, or no value at all
;; Stopped by: limits.result, and the checks of every value that crosses to the host
(component
  (core module $m
    (memory (export "memory") 128)
    ;; A pointer and a length, at 0.
    (func $list (param i32 i32) (result i32)
      (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1)) (i32.const 0))
    (func (export "large") (result i32) (call $list (i32.const 16) (i32.const 100_000)))
    (func (export "many") (result i32) (call $list (i32.const 16) (i32.const 1_000_000)))
    (func (export "nowhere") (result i32) (call $list (i32.const 8_388_000) (i32.const 100_000)))
    (func (export "endless") (result i32) (call $list (i32.const 0) (i32.const -1)))
    (func (export "not-utf8") (result i32) (i32.store8 (i32.const 64) (i32.const 0xff)) (call $list (i32.const 64) (i32.const 1)))
    (func (export "pointer-nowhere") (result i32) (i32.const -8))
    (func (export "surrogate") (result i32) (i32.const 0xd800))
    (func (export "no-such-case") (result i32) (i32.const 9)))
  (core instance $i (instantiate $m))
  (alias core export $i "memory" (core memory $memory))
  (type $colour' (enum "red" "green"))
  (export $colour "colour" (type $colour'))
  (func (export "large") (result string) (canon lift (core func $i "large") (memory $memory)))
  (func (export "many") (result (list string)) (canon lift (core func $i "many") (memory $memory)))
  (func (export "nowhere") (result string) (canon lift (core func $i "nowhere") (memory $memory)))
  (func (export "endless") (result (list u64)) (canon lift (core func $i "endless") (memory $memory)))
  (func (export "not-utf8") (result string) (canon lift (core func $i "not-utf8") (memory $memory)))
  (func (export "pointer-nowhere") (result string) (canon lift (core func $i "pointer-nowhere") (memory $memory)))
  (func (export "surrogate") (result char) (canon lift (core func $i "surrogate")))
  (func (export "no-such-case") (result $colour) (canon lift (core func $i "no-such-case")))
)
