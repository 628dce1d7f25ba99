;; Tries: to hide in long operations: to fill megabytes again and again
;; Stopped by: limits.fuel, of which each byte takes one
(component
  (core module $m
    (memory 32)
    (func (export "run") (result i32)
      (loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 2097152)) (br 0))
      unreachable))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
