;; Tries: to die while it is instantiated
;; Stopped by: the trap, which ends the attempt alone
(component
  (core module $m
    (func $die unreachable)
    (start $die)
    (func (export "run") (result i32)
      (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
