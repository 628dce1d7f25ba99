;; Tries: to take 4 GiB at once
;; Stopped by: limits.memory
(component
  (core module $m
    (memory 1)
    (func (export "run") (result i32)
      (if (i32.eq (memory.grow (i32.const 65535)) (i32.const -1)) (then unreachable))
      (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
