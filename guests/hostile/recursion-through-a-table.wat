;; Tries: to hide endless recursion from a compiler, behind an indirect call
;; Stopped by: the stack of 512 KiB that wasm has to itself
(component
  (core module $m
    (type $f (func))
    (table funcref (elem $deeper))
    (func $deeper (call_indirect (type $f) (i32.const 0)))
    (func (export "run") (result i32)
      (call $deeper)
      (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
