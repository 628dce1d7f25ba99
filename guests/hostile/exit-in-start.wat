;; Tries: to end the process while it is instantiated
;; Stopped by: the host, for which exit ends the attempt alone
(component
  (import "wasi:cli/exit@0.2.6" (instance $exits (export "exit" (func (param "status" (result))))))
  (core func $call (canon lower (func $exits "exit")))
  (core module $m
    (import "host" "call" (func $call (param i32)))
    (func $leave (call $call (i32.const 1)))
    (start $leave)
    (func (export "run") (result i32)
      (i32.const 0)))
  (core instance $i (instantiate $m (with "host" (instance (export "call" (func $call))))))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
