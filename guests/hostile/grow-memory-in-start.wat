;; Tries: to take memory while it is instantiated
;; Stopped by: limits.memory, which covers instantiation
(component
  (core module $m
    (memory 1)
    (func $grow (if (i32.eq (memory.grow (i32.const 10000)) (i32.const -1)) (then unreachable)))
    (start $grow)
    (func (export "run") (result i32)
      (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
