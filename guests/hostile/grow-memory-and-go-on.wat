;; Tries: to take all memory there is, and not to mind being refused
;; Stopped by: limits.memory refuses the growth, limits.fuel ends the rest
(component
  (core module $m
    (memory 1)
    (func (export "run") (result i32)
      (loop (drop (memory.grow (i32.const 1))) (br 0))
      unreachable))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
