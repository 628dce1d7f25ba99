;; Tries: to have more memory than it may before its first instruction
;; Stopped by: limits.memory, which covers what an instance begins with
(component
  (core module $m
    (memory 1000)
    (func (export "run") (result i32)
      (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
